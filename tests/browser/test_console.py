"""Keys are issued, rotated and revoked in a real browser, and the console is looked at."""

import re
import uuid
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from playwright.sync_api import Error

from accounts.models import APIKey, Organization, Project
from tests.billing.rows import held_record, settled_record, void

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ID = re.compile(r"[0-9a-f]{8}(-|_2D)[0-9a-f-]{27,}|/\d+/")
WINDOWS = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 844}}
    for width in (1280, 390)
    for scheme in ("light", "dark")
]


@pytest.fixture
def project(committed):
    organization = Organization.objects.create(name=f"acme-{uuid.uuid4().hex[:8]}")
    return Project.objects.create(organization=organization, name="website")


def issue(page, project, name="billing-bot"):
    """Issues a key by hand, from the first page of the admin on, and reads its secret off the screen."""
    page.goto("/admin/")
    page.get_by_role("link", name="Issue a key").click()
    page.locator(".select2-selection").click()
    page.locator(".select2-search__field").fill(project.organization.name)
    page.get_by_role("option", name=str(project)).click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Issue key").click()
    return page.locator(".secret").inner_text()


def crawl(page, *starts):
    """(address, text) of every page that links lead to, one of each kind where only an id differs."""
    waiting, seen = list(starts), set()
    while waiting:
        path = waiting.pop(0)
        answer = page.goto(path)
        assert answer.ok, f"{path}: {answer.status}"
        yield path, page.content()
        for link in page.locator("a[href]").evaluate_all("links => links.map(link => link.getAttribute('href'))"):
            parts = urlsplit(urljoin(page.url, link))
            target = parts.path + (f"?{parts.query}" if parts.path.startswith("/console/") else "")
            kind = ID.sub("ID", target)
            if parts.netloc == urlsplit(page.url).netloc and kind not in seen:
                seen.add(kind)
                waiting.append(target)


def tables_with(text):
    """The tables that hold `text` anywhere in a row, as text or as bytes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        found = []
        for table in tables:
            cursor.execute(
                f'SELECT EXISTS (SELECT FROM "{table}" AS row WHERE row::text LIKE ANY (%s))',
                [[f"%{text}%", f"%{text.encode().hex()}%"]],
            )
            if cursor.fetchone()[0]:
                found.append(table)
    return found


def test_a_key_is_issued_and_its_secret_shown_once(open_page, gateway, project, complaints, tmp_path):
    page = open_page()

    secret = issue(page, project)
    page.screenshot(path=tmp_path / "key-issued.png", full_page=True)

    assert httpx.get(f"{gateway.url}/models", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert secret in page.locator("#curl-1").inner_text()
    visited = dict(
        crawl(page, "/admin/", "/console/", f"/admin/accounts/apikey/{APIKey.objects.get(project=project).pk}/change/")
    )
    assert len(visited) > 30
    assert [path for path, text in visited.items() if secret in text] == []
    assert tables_with(secret) == []
    assert not any(secret in str(session.get_decoded()) for session in Session.objects.all())
    assert secret not in str(page.context.cookies()) + str(page.context.storage_state()) + gateway.log
    assert complaints == []


def test_the_table_search_of_these_tests_finds_what_is_there(open_page, project):
    assert tables_with(project.organization.name) == ["accounts_organization"]


def test_the_copy_button_copies_the_secret(open_page, project, complaints):
    page = open_page()
    secret = issue(page, project)

    page.get_by_role("button", name="Copy").first.click()

    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    page.get_by_role("button", name="Copy", exact=True).click()
    page.wait_for_function("document.querySelectorAll('button[data-copy]')[1].textContent == 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()").startswith("curl ")
    assert complaints == []


def test_neither_reload_nor_back_shows_the_secret_again(open_page, project):
    page = open_page()
    secret = issue(page, project)

    page.reload()
    assert "has issued its key already" in page.content()
    assert secret not in page.content()

    issue(page, project, name="second")
    page.goto("/admin/accounts/apikey/")
    with pytest.raises(Error, match="ERR_CACHE_MISS"):  # the browser has not kept the page, and asks what to do
        page.go_back()
    assert APIKey.objects.filter(project=project).count() == 2


def test_a_double_click_issues_one_key_and_shows_it(open_page, project):
    page = open_page()
    page.goto(f"/admin/accounts/apikey/add/?project={project.pk}")
    page.get_by_label("Name").fill("twice")

    page.get_by_role("button", name="Issue key").dblclick()

    page.locator(".secret").wait_for()
    assert APIKey.objects.filter(project=project).count() == 1


def test_a_key_is_rotated_and_revoked(open_page, project, complaints):
    page = open_page()
    secret = issue(page, project)
    key = APIKey.objects.get(project=project)

    page.goto(f"/admin/accounts/apikey/{key.pk}/change/")
    page.get_by_role("button", name="Rotate").click()
    assert f"Rotate key {key}?" in page.get_by_role("heading").all_inner_texts()
    page.get_by_role("button", name="Rotate key").click()
    successor = page.locator(".secret").inner_text()
    assert successor != secret

    page.goto(f"/admin/accounts/apikey/{APIKey.objects.get(replaces=key).pk}/change/")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke key").click()
    assert "Revoked: billing-bot" in page.locator(".messagelist").inner_text()
    assert successor not in page.content()
    assert APIKey.objects.get(replaces=key).revoked_at is not None
    assert complaints == []


def test_of_a_whole_key_typed_into_the_search_only_the_hint_is_sent(open_page, project):
    page = open_page()
    secret = issue(page, project)
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto("/admin/")
    page.get_by_label("Find a key").fill(secret)
    page.get_by_role("button", name="Find").click()
    page.wait_for_url("**/apikey/?q=*")
    page.locator("#searchbar").fill(secret)
    page.get_by_role("button", name="Search").click()
    page.wait_for_load_state()

    assert page.locator("#result_list tbody tr").count() == 1
    assert asked
    assert not any(secret in url for url in asked)


@pytest.mark.parametrize("window", WINDOWS, ids=["light", "dark", "light-phone", "dark-phone"])
def test_the_console_fits_its_window_and_breaks_no_rule(open_page, project, complaints, tmp_path, window):
    key, _ = APIKey.objects.issue(project=project, name="a-bot-with-quite-a-long-name-for-a-phone")
    for _ in range(3):
        settled_record(key, model="a-model-with-quite-a-long-name-2026-11-22")
    held_record(key)
    void(held_record(key))
    page = open_page(**window)

    for group in ("organization", "project", "key", "model"):
        page.goto(f"/console/?by={group}&organization={project.organization_id}")
        page.screenshot(path=tmp_path / f"console-by-{group}.png", full_page=True)
        assert page.get_by_role("heading", name="Last 5 requests").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) > 384) == (window["color_scheme"] == "light")
    assert complaints == []
