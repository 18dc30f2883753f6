import json
import logging
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import keys
from gateway.local.simulator.errors import quota_message
from gateway.local.simulator.identity import ORGANIZATION, PROJECT
from gateway.redaction import RedactingFormatter, redacted

OURS = keys.generate()
SECRETS = [
    OURS, "sk-proj-Ab3_x-9Qw8eR7tY6uI5oP4aS3dF2gH1jK0lZ", "sk-ant-api03-abcdefghijkl-1234_AA",
    "sk-abcdefghijklmnopqrstuvwx12345678",
    "sk-upstream-canary", "gsk_AbCdEfGhIjKlMnOpQrSt12345", "xai-AbCdEfGhIjKlMnOpQrSt12345",
    "hf_AbCdEfGhIjKlMnOpQrSt12345",
    "AIzaSyA-1234567890abcdefghijklmnopqrstu", ORGANIZATION, PROJECT, "org-AbCdEf0123456789", "proj_AbCdEf0123456789",
]  # fmt: skip


def secret_part(secret):
    return re.sub(r"^(sk-tg-|sk-proj-|sk-ant-|sk-|gsk_|xai-|hf_|AIza|org-|proj_)", "", secret)


@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_no_secret_survives_whatever_surrounds_it(secret):
    told = [
        secret, f"provided: {secret}. Ask", f"'{secret}'", f"key={secret}&x=1", f"({secret})", f"{secret}\n{secret}",
        f"KEY_{secret}",
        repr(f"a\n{secret}\tb"), json.dumps({"key": f"\r\n{secret}"}), quote(f"?a b {secret}"),
        f"https://x/{secret}/y", f"\x1b[1m{secret}",
        repr(f"\x1b{secret}".encode()), f"Authorization: Bearer {secret}",
        repr({"authorization": f"bearer {secret}".encode()}),
    ]  # fmt: skip
    for text in told:
        assert secret_part(secret) not in redacted(text), text
        assert "[redacted]" in redacted(text)


@given(st.text(max_size=20), st.text("0123456789ABCabc", min_size=33, max_size=33), st.text(max_size=20))
def test_a_key_of_ours_is_cut_out_of_any_text(before, body, after):
    assert body not in redacted(f"{before}sk-tg-{body}{after}")


@pytest.mark.parametrize("shown", ["sk-ab***yz", "sk-proj-****************abcd", "sk-ab...yz", "sk-tg-abcd...wxyz"])
def test_what_others_masked_is_cut_too(shown):
    assert redacted(f"Incorrect API key provided: {shown} (see").endswith("-[redacted] (see")


@pytest.mark.parametrize(
    "text",
    [
        "task-force", "a risk-based, desk-side ask-me-anything", "sk-learn is fine. So is (sk-learn), and sk-learn.",
        "the org-chart, org-wide and org-specific", "proj_settings and proj_dir",
        "Missing bearer or basic authentication in header",
        "a bearer token, the bearer tokens, bearer authentication", "task-", "xai-", "hf_hub", "half_a", "gsk_x",
        "request 01a20415-7b12-7770-beff-a2f73855add3 of model gpt-5-mini-2025-08-07 answered with status 502",
        "resp_0123456789abcdef0123456789 msg_0123456789abcdef0123456789", "你好啊",
    ],
)  # fmt: skip
def test_ordinary_words_survive(text):
    assert redacted(text) == text


def test_names_are_cut_as_whole_names_in_any_case():
    text = "api.openai.com:443, https://API.OpenAI.com/v1, eu.api.openai.com; not myapi.openai.community"
    assert redacted(text, "api.openai.com") == (
        "[upstream]:443, https://[upstream]/v1, eu.[upstream]; not myapi.openai.community"
    )
    assert redacted("The stream is upstream.", "stream") == "The [upstream] is upstream."


def test_what_a_provider_says_of_our_account_is_not_passed_on():
    text = redacted(quota_message("sk-upstream-secret-0123456789"))
    assert "0123456789" not in text
    assert "acme-holding" not in text
    assert "simulated" not in text


def formatted(log):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("tests.redaction")
    logger.addHandler(handler)
    log(logger)
    logger.removeHandler(handler)
    return RedactingFormatter("%(levelname)s %(message)s").format(records[0])


def test_a_log_line_holds_no_key_in_message_arguments_or_extra_text():
    assert formatted(lambda logger: logger.warning("key %s of %r", OURS, {"key": OURS.encode()})) == (
        "WARNING key sk-tg-[redacted] of {'key': b'sk-tg-[redacted]'}"
    )


def test_a_traceback_holds_no_key_either():
    def log(logger):
        try:
            raise ValueError(f"bad header\nAuthorization: Bearer {OURS}")
        except ValueError:
            logger.exception("failed")

    text = formatted(log)
    assert "Traceback" in text
    assert "ValueError: bad header" in text
    assert OURS[6:] not in text
