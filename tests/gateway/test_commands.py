"""The commands for admins, by their answers; at the end, as programs, by their exit codes."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.models import APIKey, Organization, Project
from accounts.peppers import digests
from billing.books.reports import receipt, usage
from billing.models import Price
from billing.prices.pricing import PriceSheet, TokenPrice, cost
from billing.prices.starter_prices import starter_prices
from billing.prices.tokens import TokenUsage
from billing.record import kept_lines
from gateway import sealing
from gateway.models import Model, Route, Upstream
from tests.accounts.rows import issued_key
from tests.billing.rows import held_record, post, request_id, settle, settled_record, void

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
PROVIDER_KEY = "sk-provider"
HOME = ("--organization", "acme", "--project", "website", "--name", "laptop")

pytestmark = pytest.mark.django_db


def said(*arguments):
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def answered(*arguments):
    """The one JSON object of a command, and nothing else."""
    return json.loads(said(*arguments, "--json"))


def refused(*arguments):
    """The sentence a command ends with; nothing went to stdout."""
    output = StringIO()
    with pytest.raises(CommandError) as error:
        call_command(*arguments, stdout=output)
    assert output.getvalue() == ""
    return str(error.value)


def test_a_key_is_issued_in_an_organization_and_a_project_made_for_it():
    answer = answered("issue_key", *HOME, "--create", "--models", "gpt-*, o3-pro,gpt-*", "--expires", "2099-01-31")
    key = APIKey.objects.get(id=answer["id"])
    assert bytes(key.digest) in list(digests(answer["key"]))
    assert (key.hint, str(key.project)) == (answer["hint"], "acme/website")
    assert key.allowed_models == answer["models"] == ["gpt-*", "o3-pro"]
    assert key.expires_at == datetime(2099, 1, 31, tzinfo=UTC)
    assert answer["expires_at"] == "2099-01-31T00:00:00Z"


def test_a_key_is_issued_in_a_project_that_is_there():
    key, _ = issued_key("acme")
    assert answered("issue_key", *HOME)["id"] != str(key.id)
    assert answered("issue_key", *HOME, "--create")["organization"] == "acme"
    assert (Organization.objects.count(), Project.objects.count(), APIKey.objects.count()) == (1, 1, 3)


def test_people_see_the_key_once_and_are_told_to_copy_it():
    text = said("issue_key", *HOME, "--create")
    key = APIKey.objects.get()
    assert text.count("sk-tg-") == 1
    assert "Copy the key now" in text
    assert str(key.id) in text


def test_what_is_missing_is_named_and_made_with_create_alone():
    sentence = refused("issue_key", *HOME)
    assert "'acme'" in sentence
    assert "--create" in sentence
    Organization.objects.create(name="acme")
    sentence = refused("issue_key", *HOME)
    assert "'website'" in sentence
    assert "--create" in sentence
    assert not APIKey.objects.exists()


def test_a_key_that_cannot_be_issued_leaves_no_organization_behind():
    assert "name" in refused("issue_key", "--organization", "acme", "--project", "p", "--name", "", "--create")
    assert "future" in refused("issue_key", *HOME, "--create", "--expires", "2020-01-31T12:00:00Z")
    assert not Organization.objects.exists()


def test_a_key_is_revoked_and_may_be_revoked_again():
    key, _ = issued_key("acme")
    first, second = answered("revoke_key", str(key.id)), answered("revoke_key", str(key.id))
    assert (first["revoked_before"], second["revoked_before"]) == (False, True)
    assert first["revoked_at"] == second["revoked_at"] is not None
    assert not APIKey.objects.usable().exists()
    assert "revoked before" in said("revoke_key", str(key.id))


def test_a_key_that_is_not_there_cannot_be_revoked():
    unknown = str(uuid4())
    assert unknown in refused("revoke_key", unknown)
    assert "laptop" in refused("revoke_key", "laptop")


def test_a_secret_given_in_place_of_the_id_is_not_repeated():
    _, secret = issued_key("acme")
    assert secret[12:] not in refused("revoke_key", secret)


def test_an_upstream_comes_with_models_and_routes():
    Model.objects.create(name="o3-pro", context_window=200_000)
    answer = answered(
        "add_upstream", "--name", "openai", "--url", "https://api.openai.com/v1/", "--key", PROVIDER_KEY,
        "--models", "gpt-*,o3-pro",
    )  # fmt: skip
    upstream = Upstream.objects.get(id=answer["id"])
    assert answer["models"] == ["gpt-*", "o3-pro"]
    assert (upstream.base_url, upstream.allow_private) == ("https://api.openai.com/v1", False)
    assert sealing.unseal(bytes(upstream.sealed_key), upstream.sealing_context) == PROVIDER_KEY.encode()
    assert set(Route.objects.values_list("model__name", "position")) == {("gpt-*", 0), ("o3-pro", 0)}
    assert Model.objects.get(name="o3-pro").context_window == 200_000
    add_second = ("add_upstream", "--name", "azure", "--url", "https://azure.example/v1", "--key", PROVIDER_KEY)
    said(*add_second, "--models", "gpt-*")
    assert [route.upstream.name for route in Model.objects.get(name="gpt-*").routes.all()] == ["openai", "azure"]
    assert set(Model.objects.get(name="gpt-*").routes.values_list("position", flat=True)) == {0, 1}


def test_an_upstreams_key_is_read_from_stdin_and_never_shown(monkeypatch):
    monkeypatch.setattr(sys, "stdin", StringIO(f"{PROVIDER_KEY}\n"))
    text = said("add_upstream", "--name", "openai", "--url", "https://api.openai.com/v1", "--key", "-")
    upstream = Upstream.objects.get()
    assert sealing.unseal(bytes(upstream.sealed_key), upstream.sealing_context) == PROVIDER_KEY.encode()
    assert PROVIDER_KEY not in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--url": "http://127.0.0.1:9000/v1"}, "allow private"),
        ({"--url": "ftp://openai"}, "base_url"),
        ({"--key": " "}, "empty"),
        ({"--key": "sk-abc1"}, "cannot be a secret"),
        ({"--key": "Password"}, "cannot be a secret"),
        ({"--key": "123456789"}, "cannot be a secret"),
        ({"--name": ""}, "name"),
        ({"--models": "x" * 201}, "name"),
    ],
)
def test_an_upstream_that_cannot_be_is_refused_whole(change, sentence):
    options = {
        "--name": "openai",
        "--url": "https://api.openai.com/v1",
        "--key": PROVIDER_KEY,
        "--models": "gpt-*",
    } | change
    assert sentence in refused("add_upstream", *(text for option in options.items() for text in option))
    assert not Upstream.objects.exists()
    assert not Model.objects.exists()


def test_a_private_upstream_is_added_where_that_is_allowed():
    local = ("--name", "local", "--url", "http://127.0.0.1:9000/v1", "--key", PROVIDER_KEY, "--allow-private")
    answered("add_upstream", *local)
    assert Upstream.objects.get().allow_private
    assert "'local'" in refused("add_upstream", *local)


def test_a_price_is_kept_exactly():
    answer = answered(
        "set_price", "--model", "gpt-*", "--input", "1.25", "--cached-input", "0.125", "--cache-write", "1.562501",
        "--output", "10", "--effective", "2026-03-01T02:00:00+02:00",
    )  # fmt: skip
    price = Price.objects.get(id=answer.pop("id"))
    assert answer == {
        "model": "gpt-*", "effective_from": "2026-03-01T00:00:00Z", "input_pico_usd": 1_250_000,
        "cached_input_pico_usd": 125_000, "cache_write_pico_usd": 1_562_501, "output_pico_usd": 10_000_000,
    }  # fmt: skip
    assert price.effective_from == datetime(2026, 3, 1, tzinfo=UTC)
    assert (price.per_token.cached_input, price.per_token.cache_write) == (125_000, 1_562_501)


def test_cached_and_written_tokens_cost_as_input_unless_said():
    text = said("set_price", "--model", "gpt-5", "--input", "2", "--output", "8")
    price = Price.objects.get()
    assert (price.cached_input_pico_usd, price.cache_write_pico_usd) == (2_000_000, 2_000_000)
    assert timezone.now() - price.effective_from < timedelta(minutes=1)
    assert "cache write   2\n" in text


def test_nothing_is_a_price_too():
    answered("set_price", "--model", "free", "--input", "3", "--cached-input", "0", "--output", "0")
    assert (Price.objects.get().cached_input_pico_usd, Price.objects.get().output_pico_usd) == (0, 0)


@pytest.mark.parametrize("number", ["1e-7", "-1", "dear", "NaN", "sNaN", "Infinity", "1e13"])
def test_what_is_no_price_is_refused(number):
    refused("set_price", "--model", "gpt-5", f"--input={number}", "--output", "8")
    assert not Price.objects.exists()


def test_a_price_is_not_edited():
    price = ("set_price", "--model", "gpt-5", "--input", "2", "--output", "8", "--effective", "2026-03-01")
    said(*price)
    assert "choose another --effective" in refused(*price)


WHOLE = (
    "set_price", "--model", "gpt-6", "--input", "2", "--cached-input", "0.2", "--output", "10", "--reasoning", "12",
    "--above", "272000", "input=4", "output=15", "--tier", "flex", "input=1", "cached-input=0.1", "output=5",
    "--tier", "flex", "above=272000", "input=2", "output=7.5", "--tool", "web_search=10/1k",
    "--tool", "container=0.03/call", "--tool", "file_search_call=2.5/1k",
)  # fmt: skip


def test_a_price_has_tiers_long_contexts_and_tools():
    answer = answered(*WHOLE)
    assert Price.objects.get().sheet == PriceSheet.of(
        TokenPrice(2_000_000, 200_000, 2_000_000, 10_000_000, 12_000_000),
        [
            ("default", 272_000, TokenPrice(4_000_000, 4_000_000, 4_000_000, 15_000_000)),
            ("flex", 0, TokenPrice(1_000_000, 100_000, 1_000_000, 5_000_000)),
            ("flex", 272_000, TokenPrice(2_000_000, 2_000_000, 2_000_000, 7_500_000)),
        ],
        {"web_search": 10**10, "container": 3 * 10**10, "file_search": 2_500_000_000},
    )
    assert answer["reasoning_pico_usd"] == 12_000_000
    assert answer["tools_pico_usd"] == {
        "web_search": 10**10, "container": 3 * 10**10, "file_search": 2_500_000_000,
    }  # fmt: skip
    assert {(row["service_tier"], row["above_input_tokens"], row["input_pico_usd"]) for row in answer["variants"]} == {
        ("default", 272_000, 4_000_000), ("flex", 0, 1_000_000), ("flex", 272_000, 2_000_000),
    }  # fmt: skip


def test_people_see_all_of_a_price():
    lines = [line.split() for line in said(*WHOLE).splitlines()]
    for line in (
        "input 2", "reasoning 12", ">272,000 output 15", "flex cached input 0.1", "flex >272,000 output 7.5",
        "web_search 10 per thousand calls", "container 30 per thousand calls",
    ):  # fmt: skip
        assert line.split() in lines


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--tier", "flex", "input=1"), "input=D output=D"),
        (("--tier", "flex", "input=1", "output=1", "input=2"), "each once"),
        (("--tier", "flex", "input=1", "output=1", "speed=2"), "speed=2"),
        (("--tier", "fl ex", "input=1", "output=1"), "fl ex"),
        (("--tier", "flex", "input=1e-7", "output=1"), "6 decimals"),
        (("--tier", "flex", "input=", "output=1"), "no number"),
        (("--tier", "flex", "input=1", "output=1", "above=9"), "none for the others"),
        (("--tier", "flex", "input=1", "output=1", "--tier", "flex", "input=1", "output=1"), "two prices"),
        (("--tier", "default", "input=1", "output=1"), "two prices"),
        (("--above", "many", "input=1", "output=1"), "'many'"),
        (("--above", "0", "input=1", "output=1"), "two prices"),
        (("--tool", "web_search=10"), "e.g. web_search=10/1k"),
        (("--tool", "web_search=ten/1k"), "'ten'"),
        (("--tool", "web_search=1e-7/1k"), "6 decimals"),
        (("--tool", "web search=1/1k"), "web search"),
        (("--tool", "mcp=1/1k", "--tool", "mcp=2/1k"), "two prices"),
    ],
)  # fmt: skip
def test_a_price_with_a_part_that_cannot_be_is_refused_whole(words, sentence):
    assert sentence in refused("set_price", "--model", "gpt-6", "--input", "2", "--output", "8", *words)
    assert not Price.objects.exists()


def test_a_leap_has_to_be_confirmed():
    price = ("set_price", "--model", "gpt-6", "--cached-input", "0.2", "--output", "10", "--input")
    said(*price, "2", "--effective", "2026-03-01")
    sentence = refused(*price, "20", "--effective", "2026-03-02")
    assert "gpt-6 from 2026-03-01 00:00: input from 2 to 20 USD per million tokens; cache write from 2" in sentence
    assert "--confirm" in sentence
    assert "output" not in sentence
    assert Price.objects.count() == 1
    said(*price, "20", "--effective", "2026-03-02", "--confirm")
    said(*price, "10", "--effective", "2026-03-01T12:00")  # between the two: the one before it is the first
    assert Price.objects.count() == 3


def test_a_models_first_price_leaps_from_nothing_even_beside_a_pattern():
    said("set_price", "--model", "gpt-*", "--input", "2", "--output", "8", "--effective", "2026-03-01")
    said("set_price", "--model", "gpt-6", "--input", "200", "--output", "800")
    assert Price.objects.count() == 2


def test_the_starter_list_is_added_once_and_named():
    planned = answered("load_prices", "--dry-run")
    assert not Price.objects.exists()
    loaded = answered("load_prices")
    assert loaded == planned | {"dry_run": False}
    assert (loaded["as_of"], loaded["left"]) == (starter_prices().as_of, {})
    assert set(loaded["added"]) == set(starter_prices().sheets)
    assert Price.objects.get(model="gpt-5.4").sheet == starter_prices().sheets["gpt-5.4"]
    again = answered("load_prices")
    assert (again["added"], again["left"]) == ([], {name: name for name in loaded["added"]})
    assert Price.objects.count() == len(loaded["added"])


def test_the_starter_list_changes_no_price_there_is():
    said("set_price", "--model", "gpt-5.4", "--input", "1", "--output", "1", "--effective", "2099-01-01")
    said("set_price", "--model", "gpt-4.1*", "--input", "1", "--output", "1")
    text = said("load_prices")
    assert "left gpt-5.4, which has a price\n" in text
    assert "left gpt-4.1-mini, which has the price of gpt-4.1*" in text
    assert "added gpt-5.4-20*" in text
    assert set(Price.objects.filter(model__startswith="gpt-4.1").values_list("model", flat=True)) == {"gpt-4.1*"}
    assert Price.objects.filter(model="gpt-5.4").count() == 1


def test_a_receipt_names_tier_bracket_and_tools():
    record_id = held_record(issued_key("acme")[0])
    sheet = PriceSheet.of(TokenPrice(1, 1, 1, 1), [("flex", 0, TokenPrice(1, 1, 1, 1)), (
        "flex", 272_000, TokenPrice(2_000_000, 200_000, 2_000_000, 7_500_000, 8_000_000)
    )], {"web_search": 10**10})  # fmt: skip
    usage = TokenUsage(input=300_000, output=3, reasoning=2)
    lines = sheet.lines(usage, service_tier="flex", tool_calls={"web_search_call": 2})
    settle(
        record_id,
        usage,
        lines=msgspec.to_builtins(kept_lines(lines)),
        cost_nano_usd=cost(lines),
        charged_nano_usd=cost(lines),
    )
    text = said("receipt", str(record_id))
    assert "input, flex, above 272,000 input tokens" in text
    assert "reasoning, flex, above 272,000 input tokens" in text
    assert ["web_search", "2", "10,000,000,000", "20,000,000,000"] in [line.split() for line in text.splitlines()]
    assert answered("receipt", str(record_id))["lines"][0] == {
        "kind": "input", "quantity": 300_000, "price_pico_usd": 2_000_000, "amount_pico_usd": 600_000_000_000,
        "tier": "flex", "above_input_tokens": 272_000,
    }  # fmt: skip


def test_a_receipt_is_that_of_the_reports():
    record_id = settled_record(issued_key("acme")[0])
    assert answered("receipt", str(record_id)) == receipt(record_id)


def test_people_see_the_bill_line_by_line_with_its_sum_and_rounding():
    record_id = held_record(issued_key("acme")[0])
    settle(record_id, TokenUsage(input=1001, cache_write=1, output=50))
    bill = [line.split() for line in said("receipt", str(record_id)).splitlines()]
    for line in (
        "input 1,000 1,250,000 1,250,000,000",
        "cache_write 1 1,250,001 1,250,001",
        "output 50 10,000,000 500,000,000",
        "sum 1,751,250,001",
        "cost 1,751,250 nano-USD (USD 0.001751250), the sum rounded half up to a nano-USD",
    ):
        assert line.split() in bill


def test_a_void_record_has_a_receipt_without_lines():
    record_id = held_record(issued_key("acme")[0])
    void(record_id)
    assert "is void" in said("receipt", str(record_id))


@pytest.mark.parametrize("unknown", ["01a203fa-0000-7000-8000-000000000000", "resp_1"])
def test_an_unknown_request_has_no_receipt(unknown):
    assert unknown in refused("receipt", unknown)


def test_a_pending_receipt_is_shown_and_is_no_success():
    record_id = held_record(issued_key("acme")[0])
    output = StringIO()
    with pytest.raises(CommandError, match="--wait"):
        call_command("receipt", str(record_id), "--json", "--wait", "0.01", stdout=output)
    assert json.loads(output.getvalue())["state"] == "pending"


@pytest.mark.parametrize("is_held_before", [True, False])
def test_a_receipt_waits_until_the_request_has_ended(is_held_before):
    key, record_id, looks = issued_key("acme")[0], request_id(), []
    looked_at = '"billing_hold"' if is_held_before else '"billing_usagerecord"'
    if is_held_before:
        held_record(key, record_id=record_id)

    def end_after_the_first_look(execute, sql, parameters, many, context):
        result = execute(sql, parameters, many, context)
        if sql.startswith("SELECT") and looked_at in sql:
            looks.append(sql)
            if len(looks) == 1:
                if not is_held_before:
                    held_record(key, record_id=record_id)
                settle(record_id, TokenUsage(input=1))
        return result

    with connection.execute_wrapper(end_after_the_first_look):
        assert answered("receipt", str(record_id), "--wait", "30")["state"] == "settled"
    assert len(looks) == 2


def test_usage_is_that_of_the_reports():
    settled_record(issued_key("acme")[0], at=datetime(2026, 3, 14, 10, 30, tzinfo=UTC))
    settled_record(issued_key("acme")[0])
    settled_record(issued_key("globex")[0])
    assert answered("usage") == usage()
    assert answered("usage", "--organization", "acme")["total"]["requests"] == 2
    assert answered("usage", "--organization", "acme", "--since", "2026-03-14T11:00:00Z")["total"]["requests"] == 1
    before = answered("usage", "--since", "2026-03-14T10:45")
    assert (before["since"], before["total"]["requests"]) == ("2026-03-14T10:00:00Z", 3)
    post()
    assert answered("usage", "--since", "2026-03-14T10:45") == before


def test_people_see_usage_as_a_table():
    assert "no usage" in said("usage")
    settled_record(issued_key("acme")[0], TokenUsage(input=123_456))
    lines = [line.split() for line in said("usage").splitlines()]
    assert ["acme", "website", "laptop", "gpt-5", "1", "0", "123,456", "0", "0.154320000"] in lines
    assert ["total", "1", "0", "123,456", "0", "0.154320000"] in lines


def test_usage_of_an_unknown_organization_is_refused():
    assert "'nobody'" in refused("usage", "--organization", "nobody")


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, MANAGE, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )


def test_without_a_database_the_commands_say_what_to_start(tmp_path):
    done = run("usage", "--json", DATABASE_URL=f"postgres://someone:hidden@/tollgate?host={tmp_path}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"No database answers at {tmp_path}/tollgate (")
    assert "manage.py up" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert "hidden" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_tables_the_commands_say_how_to_make_them():
    url = os.environ["DATABASE_URL"]
    options = f"{'&' if '?' in url else '?'}options=-c%20search_path%3Dnowhere"
    done = run("usage", DATABASE_URL=url + options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("lacks tables of this version: run manage.py migrate.\n")


def test_wrong_arguments_exit_with_2():
    done = run("issue_key", *HOME, "--expires", "tomorrow")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'tomorrow' is no ISO date or time" in done.stderr
