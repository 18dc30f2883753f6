"""The production shape on paper: what docker-compose.yml, Dockerfile and .env.example promise each other."""

import shlex
import socket
from pathlib import Path

import pytest

from gateway.local.instance import MARGIN_SECONDS, Instance
from tests import image

SERVICES = image.compose()["services"]
OURS = ("web", "worker", "beat", "migrate")
ONE_SHOT = ("migrate",)


@pytest.fixture
def here(tmp_path):
    """What `manage.py up` would run: {name: words after the interpreter}."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        instance = Instance(
            base=image.ROOT, var=tmp_path, has_own_database=False, has_own_valkey=False, listener=listener,
            host_header="localhost", broker_url="", public_url="http://127.0.0.1:8000",
            workers=1, is_production=False, shutdown_seconds=60,
        )  # fmt: skip
        yield {service.name: list(service.argv[1:]) for stage in instance.stages() for service in stage}


def seconds(text):
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def words(name):
    return shlex.split(SERVICES[name]["command"]) if "command" in SERVICES[name] else image.command()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_harmless_to_its_host(name):
    service = SERVICES[name]
    assert service["user"].partition(":")[0].isdecimal()
    assert service["user"].partition(":")[0] != "0"
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert not [volume for volume in service.get("volumes", []) if volume.startswith((".", "/"))]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_and_started_again_or_runs_once(name):
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert (service["healthcheck"], service["restart"]) == ({"disable": True}, "no")
    else:
        assert service["restart"] == "unless-stopped"
        assert "test" in service["healthcheck"] if name != "web" else image.healthcheck()


@pytest.mark.parametrize("name", [name for name in OURS if name not in ONE_SHOT])
def test_nothing_starts_before_the_tables_are_there(name):
    waits_for = {part: condition["condition"] for part, condition in SERVICES[name]["depends_on"].items()}
    assert waits_for == {
        "postgres": "service_healthy",
        "valkey": "service_healthy",
        "migrate": "service_completed_successfully",
    }


def test_only_the_gateway_has_a_port_and_only_on_the_loopback_address():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["web"]["ports"])
    assert image.compose()["networks"]["data"]["internal"]
    assert SERVICES["postgres"]["networks"] == SERVICES["valkey"]["networks"] == ["data"]


def test_every_variable_is_explained_in_the_example_and_every_example_is_used():
    assert set(image.references()) == set(image.example())


def test_a_missing_secret_is_asked_for_in_a_sentence_and_has_no_default():
    example = image.example()
    for name, sentence in image.references().items():
        if any(word in name for word in ("PASSWORD", "SECRET", "PEPPERS", "SEALING")):
            assert sentence.startswith("Set it in .env")
            assert sentence.endswith(".")
            assert example[name] == ""


def test_secrets_come_from_the_environment_alone():
    text = "\n".join(rest for word, rest in image.instructions() if word in {"ENV", "ARG", "COPY"})
    assert not [name for name in ("SECRET_KEY", "KEY_PEPPERS", "SEALING_KEYS", "PASSWORD", ".env") if name in text]
    assert "!.env" not in (image.ROOT / ".dockerignore").read_text()


def test_the_gateway_runs_as_up_runs_it_but_for_its_address_and_the_proxy(here):
    expected = here["gateway"]
    place = expected.index("--fd")
    expected[place : place + 2] = ["--host", "0.0.0.0", "--port", "8000"]
    expected[expected.index("--no-proxy-headers")] = "--proxy-headers"
    assert words("web") == ["python", *expected]
    assert "FORWARDED_ALLOW_IPS" in SERVICES["web"]["environment"]


def test_worker_and_beat_run_as_up_runs_them_but_apart(here):
    both = here["Celery worker with beat"]
    assert words("worker") == ["python", *[word for word in both if word != "-B"]]
    assert words("beat")[:6] == ["python", *both[: both.index("worker")], "beat"]


def test_tables_are_made_as_up_makes_them(here):
    assert words("migrate") == ["python", *here["migrate"][:3]]


def test_a_stopping_gateway_has_time_to_drain_and_to_write_the_books():
    drain = float(image.command()[image.command().index("--timeout-graceful-shutdown") + 1])
    assert seconds(SERVICES["web"]["stop_grace_period"]) >= drain + MARGIN_SECONDS
    assert image.last("STOPSIGNAL") == "SIGTERM"


def test_the_image_is_nobodys_and_is_built_from_hashes():
    assert image.last("USER") == SERVICES["web"]["user"] == "10001:10001"
    (install,) = [rest for word, rest in image.instructions() if word == "RUN" and "requirements.txt" in rest]
    assert "--require-hashes" in install
    stages = [place for place, (word, _) in enumerate(image.instructions()) if word == "FROM"]
    assert len(stages) > 1
    assert all("--from=build" in rest for word, rest in image.instructions()[stages[-1] :] if word == "COPY")


def test_only_what_runs_goes_into_the_image(tmp_path):
    image.copy_context(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"manage.py", "requirements.txt", "gateway", "billing", "accounts", "templates", "static"} == names
    assert not list(tmp_path.rglob("*.pyc"))
    assert Path(tmp_path, "gateway", "settings.py").exists()


def test_the_spool_outlives_the_container():
    """Its root is read-only: without the volume the gateway would not start, and with tmpfs open requests were lost."""
    (place,) = [volume.partition(":")[2] for volume in SERVICES["web"]["volumes"]]
    assert place == f"{image.environment()['TOLLGATE_VAR']}/spool"  # the setting's default
    made = next(rest for word, rest in image.instructions() if word == "RUN" and "install --directory" in rest)
    assert place in made.split()  # so that the volume is the image's user's
