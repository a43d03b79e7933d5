"""The entry point of group `pytest11`: assertions of the suite are explained like those of a test module.

pytest imports it in every run in an environment that has Towpath, so it does nothing else.
"""

import pytest

pytest.register_assert_rewrite("batch.contract_suite.launcher")
