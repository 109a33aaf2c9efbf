"""What every aggregate declares of itself holds together."""

import pytest

from tenant_domain.aggregate import Aggregate, CommandSpec
from tenant_domain.decision import Unfolded
from tenant_domain.registry import COMMANDS, ENTITIES

each_aggregate = pytest.mark.parametrize("aggregate", ENTITIES.values(), ids=ENTITIES)


@each_aggregate
def test_it_has_one_example_of_each_of_its_events(aggregate: Aggregate):
    assert [type(event) for event in aggregate.examples] == list(aggregate.events)


@each_aggregate
def test_it_folds_each_of_its_events_and_no_other(aggregate: Aggregate):
    for another in ENTITIES.values():
        for event in another.examples:
            if another is aggregate:
                aggregate.evolve(aggregate.evolve(None, aggregate.examples[0]), event)
            else:
                with pytest.raises(Unfolded, match=event.name):
                    aggregate.evolve(None, event)


@each_aggregate
def test_its_events_are_stored_under_its_name(aggregate: Aggregate):
    assert {event.name.partition(".")[0] for event in aggregate.events} == {aggregate.name}


@pytest.mark.parametrize("spec", COMMANDS.values(), ids=COMMANDS)
def test_the_example_of_a_command_is_of_its_form(spec: CommandSpec):
    assert type(spec.example) is spec.form
    assert spec.form.model_validate_json(spec.example.model_dump_json()) == spec.example
