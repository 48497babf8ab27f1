"""Names of views, columns and indexes: what no table could bear, or PostgreSQL would cut, is refused at once."""

from __future__ import annotations

import pytest

from jobledger.domain.errors import InvalidInput
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.projection import Column, Index, Projection
from jobledger.projections.shadow import shadow_of

ID = Column("job_id", "uuid", key=True)


def made(name: str = "some_jobs", columns: tuple[Column, ...] = (ID,), indexes: tuple[Index, ...] = ()) -> Projection:
    """A view of these names."""
    return Projection(name, frozenset(), columns, key=lambda _: None, fold=lambda row, _: row, indexes=indexes)


@pytest.mark.parametrize(
    "name", ["", "a" * 31, "Tenant_jobs", "tenant-jobs", "1st", "_jobs", "jobs__new", "caf\u00e9", "jobs ", "jobs\n"]
)  # fmt: skip
def test_a_view_has_a_name_that_its_tables_can_bear(name: str) -> None:
    """Short enough for its shadow, its previous version and their indexes; not that of a shadow."""
    with pytest.raises(InvalidInput) as refused:
        made(name)
    assert refused.value.field == "name" and "30" in str(refused.value.rule)


@pytest.mark.parametrize(
    "columns",
    [
        (), (Column("kind", "text"),), (ID, Column("Kind", "text")), (ID, Column("a" * 64, "text")), (ID, ID),
        (ID, Column("xmin", "text")), (ID, Column("", "text")), (Column("job_id", "uuid", nullable=True, key=True),),
    ],
)  # fmt: skip
def test_columns_have_names_and_a_key(columns: tuple[Column, ...]) -> None:
    """Each once, none that PostgreSQL has itself; one at least is the key, which is never null."""
    with pytest.raises(InvalidInput) as refused:
        made(columns=columns)
    assert refused.value.field == "columns" and refused.value.rule


@pytest.mark.parametrize(
    "index",
    [
        Index("by_" + "a" * 41, ("job_id",)), Index("By_time", ("job_id",)), Index("pkey", ("job_id",)), Index("x", ()),
        Index("by_kind", ("kind",)), Index("some", ("job_id",), where="kind"),
    ],
)  # fmt: skip
def test_indexes_have_names_and_columns_of_the_view(index: Index) -> None:
    """The longest name is that of the previous version's index."""
    with pytest.raises(InvalidInput) as refused:
        made(indexes=(index,))
    assert refused.value.field == "indexes" and refused.value.rule


def test_what_is_short_enough_is_taken() -> None:
    """The longest view with its longest index; shadows, which are made of views, are not views themselves."""
    longest = made("a" * 30, (ID, Column("b" * 63, "text")), (Index("c" * 22, ("job_id",)),))
    assert shadow_of(longest).name == "a" * 30 + "__new"
    assert len(f"{longest.name}__previous_{longest.indexes[0].suffix}") == 63
    assert [projection.name for projection in ALL_PROJECTIONS]
