"""The page in docs/ is that of the schemas."""

from docs.data_dictionary import GRAIN, PAGE, page
from tests.contract.schemas import FAMILIES


def test_the_committed_page_is_that_of_the_schemas():
    assert PAGE.read_text() == page(), "`make docs` writes it"


def test_every_table_stands_in_it_with_all_its_columns():
    sections = dict(part.split("\n", 1) for part in page().split("\n### ")[1:])
    tables = {name: schema for _, schemas in FAMILIES.values() for name, schema in schemas.items()}
    assert set(sections) == {*tables, "patient_record"}
    assert set(tables) == set(GRAIN)
    for name, schema in tables.items():
        rows = [line for line in sections[name].splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == schema.names
