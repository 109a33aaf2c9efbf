"""The metrics of several processes as one page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from handlers.http_edge.exposition import exposition


def counted(number: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("tenants_commands", "Commands", ("command",), registry=registry).labels("provision").inc(number)
    Histogram("tenants_seconds", "Times", registry=registry).observe(number)
    return registry


async def test_given_no_other_process_then_nothing_is_added():
    text = (await exposition(counted(2), {})).decode()
    assert 'tenants_commands_total{command="provision"} 2.0' in text
    assert "process" not in text


async def test_given_other_processes_then_each_sample_says_whose_it_is_and_one_that_is_gone_is_down():
    server, thread = start_http_server(0, addr="127.0.0.1", registry=counted(5))
    others = {
        "worker": f"http://127.0.0.1:{server.server_port}/metrics",
        "gone": "http://127.0.0.1:1/metrics",
    }
    text = (await exposition(counted(2), others)).decode()
    server.shutdown()
    server.server_close()
    thread.join()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    commands = {
        sample.labels["process"]: sample.value
        for sample in families["tenants_commands"].samples
        if sample.name == "tenants_commands_total"
    }
    assert commands == {"service": 2.0, "worker": 5.0}
    up = {sample.labels["process"]: sample.value for sample in families["tenants_process_up"].samples}
    assert up == {"service": 1.0, "worker": 1.0, "gone": 0.0}
    assert text.count("# TYPE tenants_seconds histogram") == 1
