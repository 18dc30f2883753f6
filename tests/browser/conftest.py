"""A real browser on a real gateway process, and what it complained about."""

import uuid
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from accounts.models import User

CHROMIUM = Path("/usr/bin/chromium")
PASSWORD = "correct-horse-battery"
# Told as soon as it happens; the browser's console alone would leave out violations of reports that it merges.
TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
    console.error(`CSP: ${event.violatedDirective} refused ${event.blockedURI} on ${document.URL}`));
"""


@pytest.fixture(scope="module")
def browser():
    """For one module only: while it is there, no other event loop can run in this thread."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM} (apt-get install chromium)")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # its loop, which is not ours, runs in this thread
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def complaints():
    """CSP violations, script errors and answers that failed; a test asserts that there are none."""
    return []


@pytest.fixture
def open_page(browser, gateway, staff, complaints):
    """Opens the console as staff, in a browser profile of its own."""
    contexts = []

    def open_page(**options):
        context = browser.new_context(base_url=gateway.origin, **options)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.add_init_script(TELL_VIOLATIONS)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda answer: answer.status >= 400 and complaints.append(f"{answer.url}: {answer.status}"))
        log_in(page, staff)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def staff(committed):
    return User.objects.create_superuser(f"admin-{uuid.uuid4().hex[:8]}", password=PASSWORD)


def log_in(page, user):
    page.goto("/console/")
    page.get_by_label("Name").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/console/")
