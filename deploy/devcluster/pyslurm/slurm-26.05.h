/* Maps what pyslurm for Slurm 25.11 uses to Slurm 26.05 (slurm.h of both): a job is identified by a structure and no
   longer by a number, and one function has another name. */
#ifndef TOWPATH_SLURM_26_05_H
#define TOWPATH_SLURM_26_05_H

#include <slurm/slurm.h>

static inline slurm_step_id_t towpath_job(uint32_t number)
{
	slurm_step_id_t job = SLURM_STEP_ID_INITIALIZER;

	job.job_id = number;
	return job;
}

static inline int towpath_load_job(job_info_msg_t **found, uint32_t job, uint16_t flags)
{
	return slurm_load_job(found, towpath_job(job), flags);
}

static inline int towpath_kill_job(uint32_t job, uint16_t signal, uint16_t flags)
{
	return slurm_kill_job(towpath_job(job), signal, flags);
}

static inline int towpath_suspend(uint32_t job)
{
	return slurm_suspend(towpath_job(job));
}

static inline int towpath_resume(uint32_t job)
{
	return slurm_resume(towpath_job(job));
}

static inline int towpath_requeue(uint32_t job, uint32_t flags)
{
	return slurm_requeue(towpath_job(job), flags);
}

static inline int towpath_notify_job(uint32_t job, char *message)
{
	return slurm_notify_job(towpath_job(job), message);
}

#define slurm_load_job towpath_load_job
#define slurm_kill_job towpath_kill_job
#define slurm_suspend towpath_suspend
#define slurm_resume towpath_resume
#define slurm_requeue towpath_requeue
#define slurm_notify_job towpath_notify_job
#define slurm_free_ctl_conf slurm_free_conf

#endif
