"""What was ever stored can be read and folded for ever."""

import pytest

from handlers.wire.events import encoded, event_of, opened
from tenant_domain.registry import ENTITIES, EVENTS
from tests.corpus.samples import META, Sample, samples
from tests.support.examples import EVENT_EXAMPLES, FORMER_EXAMPLES

CORPUS = list(samples())
IDS = [f"{sample.name}.v{sample.version}" for sample in CORPUS]
EACH = pytest.mark.parametrize("sample", CORPUS, ids=IDS)


def test_every_event_has_a_sample_of_every_version():
    wanted = {(name, version) for name, cls in EVENTS.items() for version in range(1, cls.schema + 1)}
    assert {(sample.name, sample.version) for sample in CORPUS} == wanted


def test_every_event_has_an_example_of_today():
    assert set(EVENT_EXAMPLES) == set(EVENTS)


@EACH
def test_a_sample_is_what_its_name_says(sample: Sample):
    stored = opened(sample.body)
    assert (stored.v, stored.meta) == (sample.version, META)


@EACH
def test_a_sample_is_read_as_todays_event(sample: Sample):
    former = FORMER_EXAMPLES.get((sample.name, sample.version))
    assert event_of(sample.name, sample.body) == (former or EVENT_EXAMPLES[sample.name])


@EACH
def test_todays_version_is_still_written_as_it_was(sample: Sample):
    event = EVENT_EXAMPLES[sample.name]
    if sample.version == event.schema:
        assert encoded(event, META) == sample.body


@EACH
def test_a_sample_folds(sample: Sample):
    (entity,) = (kind for kind in ENTITIES.values() if EVENTS[sample.name] in kind.events)
    born = entity.evolve(None, EVENT_EXAMPLES[entity.events[0].name])
    assert isinstance(entity.evolve(born, event_of(sample.name, sample.body)), entity.state)
