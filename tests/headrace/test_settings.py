"""Settings: three layers, one pass, every violation at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.options import configure
from headrace.settings import load
from headrace.show import effective, example
from registry.store import ArtifactSettings
from streams.errors import BadSettings


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_load_nothing_given_is_all_defaults() -> None:
    """Without file, environment and flags nothing has an origin, and no cluster was named."""
    loaded = load(environ={})

    assert loaded.origins == {}
    assert not loaded.cluster_given
    assert loaded.settings.kafka.prefix == "headrace."


def test_load_three_layers_last_one_wins(tmp_path: Path) -> None:
    """The file gives three values, the environment overrides two of them, a flag one of these."""
    file = toml(tmp_path, "[kafka]\nslots = 4\nresult_partitions = 4\nquery_partitions = 4\n")
    environ = {"HEADRACE_KAFKA__SLOTS": "5", "HEADRACE_KAFKA__RESULT_PARTITIONS": "5"}

    loaded = load(file, pairs=["kafka.slots=6"], environ=environ)

    kafka = loaded.settings.kafka
    assert (kafka.slots, kafka.result_partitions, kafka.query_partitions) == (6, 5, 4)
    assert loaded.origins == {
        ("kafka", "slots"): "flag",
        ("kafka", "result_partitions"): "environment",
        ("kafka", "query_partitions"): str(file),
    }


def test_load_bootstrap_variable_of_kafka_tools_counts_as_environment(tmp_path: Path) -> None:
    """KAFKA_BOOTSTRAP_SERVERS wins over the file, and our own variable over it."""
    file = toml(tmp_path, '[kafka]\nbootstrap = "file:1"\n')

    common = load(file, environ={"KAFKA_BOOTSTRAP_SERVERS": "common:1"})
    own = load(file, environ={"KAFKA_BOOTSTRAP_SERVERS": "common:1", "HEADRACE_KAFKA__BOOTSTRAP": "own:1"})

    assert common.settings.kafka.bootstrap == "common:1"
    assert common.cluster_given
    assert own.settings.kafka.bootstrap == "own:1"


def test_load_file_named_by_variable_is_read(tmp_path: Path) -> None:
    """HEADRACE_CONFIG names the file."""
    file = toml(tmp_path, "[up]\nexecutors = 3\n")

    assert load(environ={"HEADRACE_CONFIG": str(file)}).settings.up.executors == 3


def test_load_lists_in_variables_may_be_written_with_commas_or_as_json() -> None:
    """Both spellings give the same tuple."""
    commas = load(environ={"HEADRACE_KAFKA__POOLS": "cpu, gpu"})
    json = load(environ={"HEADRACE_KAFKA__POOLS": '["cpu", "gpu"]'})

    assert commas.settings.kafka.pools == json.settings.kafka.pools == ("cpu", "gpu")


def test_load_librdkafka_properties_keep_their_dots_in_every_layer(tmp_path: Path) -> None:
    """A dotted TOML key, a variable with underscores and a flag give librdkafka's own names."""
    file = toml(
        tmp_path, '[kafka.properties]\nsecurity.protocol = "SASL_SSL"\nenable.ssl.certificate.verification = true\n'
    )

    loaded = load(
        file,
        pairs=["kafka.properties.sasl.mechanism=PLAIN"],
        environ={"HEADRACE_KAFKA__PROPERTIES__SASL_PASSWORD": "Hunter2_x"},
    )

    assert loaded.settings.kafka.properties == {
        "security.protocol": "SASL_SSL",
        "enable.ssl.certificate.verification": "true",
        "sasl.password": "Hunter2_x",
        "sasl.mechanism": "PLAIN",
    }


def test_load_several_violations_are_reported_at_once(tmp_path: Path) -> None:
    """Each is named with section, key, value, origin and limit; unknown keys with the nearest known one."""
    file = toml(tmp_path, '[kafka]\nslots = 0\nbootsrap = "x:1"\n[routr]\nseed = 1\n')

    with pytest.raises(BadSettings) as caught:
        load(file, environ={"HEADRACE_ROUTER__BATCH_MAX": "many"})

    message = caught.value.message
    assert message.startswith("4 violations: ")
    assert f"[kafka] slots = 0 ({file}): should be greater than or equal to 1" in message
    assert f"[kafka] bootsrap is unknown ({file}); did you mean bootstrap?" in message
    assert "[router] batch_max = 'many' (environment): should be a valid integer" in message
    assert f"[routr] is unknown ({file}); did you mean router?" in message


def test_load_unknown_variable_is_named() -> None:
    """A misspelt section or key in the environment is an error, not silence."""
    with pytest.raises(BadSettings, match=r"\[kafak\] is unknown \(environment\); did you mean kafka\?"):
        load(environ={"HEADRACE_KAFAK__PREFIX": "x."})


def test_load_variables_without_section_are_not_settings() -> None:
    """HEADRACE_DEBUG and the like belong to others."""
    assert load(environ={"HEADRACE_DEBUG": "1", "HEADRACE_CACHE_DIR": "/tmp"}).origins == {}


def test_load_relation_between_sections_is_checked() -> None:
    """More executors than partitions, and a pool that has no topic, are both refused, in one message."""
    with pytest.raises(BadSettings) as caught:
        load(pairs=["kafka.slots=2", "up.executors=3", "up.pool=gpu"], environ={})

    assert "2 violations" in caught.value.message
    assert "[up] executors = 3: more than [kafka] slots = 2" in caught.value.message
    assert "[up] pool = 'gpu': is not in [kafka] pools" in caught.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [("[kafka", "is not TOML"), ("kafka = 3", r"\[kafka\] = 3")],
)
def test_load_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """Broken TOML and a section that is no table are told with the file."""
    with pytest.raises(BadSettings, match=told):
        load(toml(tmp_path, text), environ={})


def test_load_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that was named must be there."""
    with pytest.raises(BadSettings, match="cannot be read: No such file"):
        load(tmp_path / "nowhere.toml", environ={})


def test_load_secret_in_violation_is_masked() -> None:
    """A wrong value under a secret key is not printed."""
    with pytest.raises(BadSettings) as caught:
        load(flags={"kafka": {"properties": {"sasl.password": ["hunter2"]}, "slots": 0}}, environ={})

    assert "hunter2" not in caught.value.message.replace("['hunter2']", "")


def test_effective_masks_secrets_and_names_origins() -> None:
    """Passwords, keys and client secrets are masked; names beside them are not; every line has its origin."""
    environ = {
        "HEADRACE_KAFKA__PROPERTIES__SASL_PASSWORD": "hunter2",
        "HEADRACE_KAFKA__PROPERTIES__SSL_KEY_PASSWORD": "hunter2",
        "HEADRACE_KAFKA__PROPERTIES__SASL_USERNAME": "me",
    }

    text = effective(load(environ=environ))

    assert "hunter2" not in text
    assert 'properties."sasl.password" = "********"  # environment' in text
    assert 'properties."sasl.username" = "me"  # environment' in text
    assert 'prefix = "headrace."  # default' in text


def test_effective_is_a_file_that_gives_the_same_settings(tmp_path: Path) -> None:
    """What `headrace config` prints can be saved and read again."""
    first = load(pairs=["kafka.slots=7", "kafka.pools=cpu,gpu", "up.stop_s=3.5"], environ={})

    again = load(toml(tmp_path, effective(first)), environ={})

    assert again.settings == first.settings


def test_example_with_every_key_uncommented_is_valid(tmp_path: Path) -> None:
    """The generated example names only keys that exist, at values that are allowed."""
    lines = [line.removeprefix("#") if _is_key(line) else line for line in example().splitlines()]

    load(toml(tmp_path, "\n".join(lines)), environ={})


def _is_key(line: str) -> bool:
    key, equals, value = line.removeprefix("#").partition(" = ")
    return line.startswith("#") and key.isidentifier() and bool(equals) and bool(value.strip()) and "found" not in value


def test_load_artifacts_in_the_store_that_is_pruned_are_refused(tmp_path: Path) -> None:
    """`blobs prune` removes by age, and a model is needed for as long as it is registered."""
    same = [f"blobs.url={tmp_path}", f"artifacts.url={tmp_path}/x/.."]
    with pytest.raises(BadSettings, match=r"\[artifacts\] url = .* is that of \[blobs\], which is pruned"):
        load(pairs=same, environ={})
    apart = ["blobs.url=s3://bucket/values", "artifacts.url=s3://bucket/models"]

    assert load(pairs=apart, environ={}).settings.artifacts.store_settings.bucket == ("bucket", "models")


def test_configure_passes_on_where_artifacts_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that a command starts, and that reads no settings file, finds the same store and cache."""
    monkeypatch.chdir(tmp_path)
    for key in ("URL", "CACHE", "ENDPOINT", "REGION"):
        monkeypatch.setenv(f"HEADRACE_ARTIFACTS__{key}", "")  # taken back afterwards
        monkeypatch.delenv(f"HEADRACE_ARTIFACTS__{key}")
    configure(None, None, "error")
    untouched = "HEADRACE_ARTIFACTS__URL" in os.environ
    given = configure(None, ["artifacts.url=s3://bucket/models", f"artifacts.cache={tmp_path}"], "error")

    assert not untouched
    assert ArtifactSettings() == given.settings.artifacts
