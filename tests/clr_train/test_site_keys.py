"""Sites as integer keys."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from clr_train.site_keys import MAX_COORDINATE, MAX_PARTICLES, pack, sort_keys

_coordinate = st.integers(-MAX_COORDINATE, MAX_COORDINATE - 1)


@given(
    st.sampled_from([1, 2, 2047, 2048, MAX_PARTICLES - 1, MAX_PARTICLES]).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(
                st.tuples(st.integers(0, n - 1), _coordinate, _coordinate, _coordinate), min_size=1
            ),
        )
    )
)
def test_keys_are_sorted_as_sites_are(drawn: tuple[int, list[tuple[int, ...]]]) -> None:
    num_particles, sites = drawn
    sites += sites[:3]  # equal ones
    particle, *xyz = torch.tensor(sites).T
    keys = pack(particle, xyz)
    ascending, order = sort_keys(keys, num_particles=num_particles)
    assert order.tolist() == sorted(range(len(sites)), key=sites.__getitem__)
    assert ascending.tolist() == keys[order].tolist()
