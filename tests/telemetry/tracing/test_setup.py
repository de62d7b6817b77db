"""TracingConfiguration: what is accepted, and upstream's words for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeglass.telemetry.tracing.setup import (
    TracingConfiguration,
    TracingConfigurationError,
    build_tracer,
    decode,
    export_options,
    from_block,
    load,
)

HEAD = "apiVersion: apiserver.config.k8s.io/{}\nkind: TracingConfiguration\n"


@pytest.mark.parametrize("version", ["v1alpha1", "v1beta1", "v1"])
def test_all_versions(version: str) -> None:
    """The same file is read in every version, as YAML and as JSON."""
    text = HEAD.format(version) + "endpoint: localhost:4317\nsamplingRatePerMillion: 12345\n"
    assert decode(text.encode()) == TracingConfiguration("localhost:4317", 12345)
    json = f'{{"apiVersion":"apiserver.config.k8s.io/{version}","kind":"TracingConfiguration","endpoint":"h:1"}}'
    assert decode(json.encode()) == TracingConfiguration("h:1", None)


def test_empty_file_is_an_empty_configuration() -> None:
    """Nothing in the file means on, with rate 0."""
    assert decode(b"") == decode(b"# nothing\n") == TracingConfiguration()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apiVersion: apps/v1\nkind: DaemonSet\n", 'no kind "DaemonSet" is registered for version "apps/v1" in scheme'),
        (HEAD.format("v2"), 'no kind "TracingConfiguration" is registered for version "apiserver.config.k8s.io/v2" in'),
        ("endpoint: a:1\n", "Object 'Kind' is missing in 'endpoint: a:1\n'"),
        ("kind: TracingConfiguration\n", "Object 'apiVersion' is missing in 'kind: TracingConfiguration\n'"),
        (HEAD.format("v1") + "colour: red\n", 'strict decoding error: unknown field "colour"'),
        (
            HEAD.format("v1") + "endpoint: a:1\nendpoint: b:1\n",
            "strict decoding error: error converting YAML to JSON: yaml: unmarshal errors:\n"
            '  line 4: key "endpoint" already set in map',
        ),
        (
            '{"kind":"TracingConfiguration","apiVersion":"apiserver.config.k8s.io/v1","endpoint":"a","endpoint":"b"}',
            'strict decoding error: duplicate field "endpoint"',
        ),
        (
            HEAD.format("v1") + "samplingRatePerMillion: many\n",
            "json: cannot unmarshal string into Go struct field "
            "TracingConfiguration.samplingRatePerMillion of type int32",
        ),
        (
            HEAD.format("v1") + "endpoint: 4317\n",
            "json: cannot unmarshal number into Go struct field TracingConfiguration.endpoint of type string",
        ),
    ],
)
def test_strict_decoding(text: str, message: str) -> None:
    """What cannot be decoded is refused with upstream's text."""
    with pytest.raises(TracingConfigurationError) as caught:
        decode(text.encode())
    assert str(caught.value).startswith(f"unable to decode tracing configuration data: {message}")


NAMING = "Options are none, dns, unix, or unix-abstract.  See https://github.com/grpc/grpc/blob/master/doc/naming.md"


@pytest.mark.parametrize(
    ("config", "errors"),
    [
        (TracingConfiguration("localhost:4317", 0), []),
        (TracingConfiguration("dns://8.8.8.8/foo:4317", 1_000_000), []),
        (TracingConfiguration("unix:///run/otel.sock"), []),
        (TracingConfiguration("unix-abstract://otel"), []),
        (
            TracingConfiguration(None, -1),
            ["tracing.samplingRatePerMillion: Invalid value: -1: sampling rate must be positive"],
        ),
        (
            TracingConfiguration(None, 1_000_001),
            [
                "tracing.samplingRatePerMillion: Invalid value: 1000001: "
                "sampling rate per million must be less than or equal to one million"
            ],
        ),
        (
            TracingConfiguration("http://localhost:4317"),
            [f'tracing.endpoint: Invalid value: "http://localhost:4317": unsupported scheme: http.  {NAMING}'],
        ),
        (
            TracingConfiguration("host:port"),
            [
                'tracing.endpoint: Invalid value: "dns://host:port": '
                'parse "dns://host:port": invalid port ":port" after host'
            ],
        ),
    ],
)
def test_validation(config: TracingConfiguration, errors: list[str]) -> None:
    """Rates and endpoints are judged as upstream does."""
    assert config.validate() == errors


def test_load(tmp_path: Path) -> None:
    """A file is read, decoded and validated; the first problem is the error."""
    path = tmp_path / "tracing.yaml"
    with pytest.raises(TracingConfigurationError, match=f"^tracing-config-file {path} does not exist$"):
        load(str(path))
    path.write_text(HEAD.format("v1") + "samplingRatePerMillion: -1\n")
    with pytest.raises(TracingConfigurationError, match="sampling rate must be positive"):
        load(str(path))
    path.write_text(HEAD.format("v1") + "samplingRatePerMillion: 5\n")
    assert load(str(path)).sampling_rate_per_million == 5


def test_kubelet_block() -> None:
    """No block is off; a block, even empty, is on."""
    assert from_block(None) is None
    assert from_block({}) == TracingConfiguration()
    assert from_block({"endpoint": "a:1", "samplingRatePerMillion": 3}) == TracingConfiguration("a:1", 3)


def test_off_and_on(log, registry) -> None:
    """No configuration gives a tracer that is off; an empty one samples only sampled parents."""
    assert not build_tracer("s", None, {}, log, registry).enabled
    tracer = build_tracer("s", TracingConfiguration(), {}, log, registry)
    assert tracer.enabled and not tracer.start("root").recording


def test_environment() -> None:
    """The batch processor's variables are honoured, nonsense is not."""
    options = export_options(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "x",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0",
        }
    )
    assert (options.queue_limit, options.batch_limit, options.delay_seconds, options.timeout_seconds) == (
        100,
        100,
        0.25,
        10.0,
    )
