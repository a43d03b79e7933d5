"""The route table, compared with a simple model."""

from hypothesis import given
from hypothesis import strategies as st

from state.mirror.routes import RouteTable
from state.names import server_path
from state.records.models import Endpoint, Route

ROUTES = st.builds(
    lambda user, name, port: Route(
        prefix=server_path("/", user, name),
        user=user,
        name=name,
        attempt="a",
        endpoint=Endpoint(kind="tcp", host="127.0.0.1", port=port),
    ),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(["", "lab", "x"]),
    st.integers(1, 3),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), ROUTES),
        st.tuples(st.just("drop"), ROUTES),
        st.tuples(st.just("replace"), st.lists(ROUTES, max_size=5)),
    ),
    max_size=12,
)


@given(STEPS)
def test_after_any_changes_a_lookup_returns_what_the_model_has(steps):
    table, model = RouteTable(), {}
    for verb, value in steps:
        before = dict(model)
        if verb == "put":
            model[value.prefix] = value
            assert table.put(value) is (model != before)
        elif verb == "drop":
            model.pop(value.prefix, None)
            assert table.drop(value.prefix) is (model != before)
        else:
            model = {route.prefix: route for route in value}
            changed = dict(table.replace(value))
            prefixes = {*before, *model}
            assert changed == {
                prefix: model.get(prefix) for prefix in prefixes if before.get(prefix) != model.get(prefix)
            }
        assert len(table) == len(model)
        for user in ("ann", "bob", "carl"):
            for segment in ("", "lab", "x", "tree"):
                named = model.get(server_path("/", user, segment)) if segment else None
                assert table.lookup(user, segment) == (named or model.get(server_path("/", user, "")))
