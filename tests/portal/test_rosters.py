"""Rosters: applied completely or not at all, through the API and the page."""

from msgspec.structs import replace

from state.config.tables import RoleConfig
from tests.portal.conftest import CONFIG

URL = "/hub/api/towpath/groups/class/roster"
TEACHERS = replace(
    CONFIG,
    role=(
        RoleConfig(name="teacher", scopes=("groups!group=class", "read:servers!group=class"), users=("tina",)),
        RoleConfig(name="pupil", scopes=("read:hub",), groups=("privileged",)),
    ),
)


async def school(bench):
    root = bench.client(bench.session(await bench.user("carol", admin=True)))
    for name in ("tina", "ann", "bob", "carl"):
        await bench.user(name)
    assert (await root.post("/hub/api/groups/class", json={"users": ["carl"]})).status_code == 201
    return root, bench.client(bench.session(await bench.store.users.get("tina")))


async def members(bench):
    return (await bench.store.groups.members("class"))["class"]


def test_a_roster_fills_a_group_and_repeating_it_changes_nothing(bench):
    async def main(bench):
        root, tina = await school(bench)
        csv = {"Content-Type": "text/csv"}
        done = await tina.put(URL, content="user,section\nAnn,1\nbob,2\n", headers=csv)
        assert (done.status_code, done.json()) == (200, {"joined": ["ann", "bob"], "left": [], "made": []})
        assert await members(bench) == ["ann", "bob", "carl"]
        again = await tina.put(f"{URL}?mode=replace", content="user\nann\nbob\n", headers=csv)
        assert again.json() == {"joined": [], "left": ["carl"], "made": []}
        assert (await tina.put(f"{URL}?mode=replace", content="user\nann\nbob\n", headers=csv)).json()["left"] == []
        made = await root.put(URL, content="user\nnew1\nnew2\n", headers=csv)
        assert made.json()["made"] == ["new1", "new2"]
        assert (await bench.store.users.get("new1")).groups == ("class",)

    bench(main, config=TEACHERS)


def test_one_invalid_line_rejects_the_whole_roster(bench):
    async def main(bench):
        _, tina = await school(bench)
        bad = "user\nann\nno body\nstranger\nann\n"
        refused = await tina.put(f"{URL}?mode=replace", content=bad, headers={"Content-Type": "text/csv"})
        assert refused.status_code == 400
        assert [fault["line"] for fault in refused.json()["lines"]] == [3, 4, 5]
        assert "never been on this hub" in refused.json()["lines"][1]["message"]
        assert await members(bench) == ["carl"]
        for content, headers, query in (
            (b"\xff", {"Content-Type": "text/csv"}, ""),
            (b"user\nann", {"Content-Type": "text/csv"}, "?mode=all"),
            (b"user\nann", {"Content-Type": "text/plain"}, ""),
        ):
            assert (await tina.put(URL + query, content=content, headers=headers)).status_code in {400, 415}
        assert await members(bench) == ["carl"]

    bench(main, config=TEACHERS)


def test_applying_a_roster_needs_the_scope_and_the_groups_rights(bench):
    async def main(bench):
        root, tina = await school(bench)
        ann = bench.client(bench.session(await bench.store.users.get("ann")))
        assert (await ann.put(URL, content="user\nann\n")).status_code == 403
        await root.post("/hub/api/groups/privileged")
        helper = bench.client(bench.token(await bench.store.users.get("carol"), "groups"))
        other = "/hub/api/towpath/groups/privileged/roster"
        assert (await helper.put(other, content="user\nann\n")).status_code == 403
        assert (await tina.put(other, content="user\nann\n")).status_code == 404
        assert (await tina.get("/hub/roster/privileged")).status_code == 404
        assert (await ann.get("/hub/roster/class")).status_code == 403

    bench(main, config=TEACHERS)


def test_the_page_shows_the_outcome_and_keeps_an_invalid_roster(bench):
    async def main(bench):
        _, tina = await school(bench)
        assert "carl" in (await tina.get("/hub/roster/class")).text
        done = await tina.post("/hub/roster/class", data={"roster": "user\nann\n", "replace": "on"})
        assert done.status_code == 200
        assert "1 added, 1 removed" in done.text
        wrong = await tina.post("/hub/roster/class", data={"roster": "user\n<b>\n"})
        assert wrong.status_code == 400
        assert "Line 2" in wrong.text
        assert "<b>" not in wrong.text
        assert await members(bench) == ["ann"]

    bench(main, config=TEACHERS)
