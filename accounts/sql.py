"""SQL in migrations: files beside the apps, and the triggers that raise the revision."""

from pathlib import Path

from django.db.migrations.operations import RunSQL

BASE = Path(__file__).resolve().parent.parent


def load(path: str) -> RunSQL:
    """Runs an SQL file, named from the top of the project."""
    return RunSQL((BASE / path).read_text(), reverse_sql=RunSQL.noop)


def raise_revision_on_change(table: str, *columns: str) -> RunSQL:
    """Every statement that changes `table` raises the revision; with `columns`, updates only of these."""
    update = f"UPDATE OF {', '.join(columns)}" if columns else "UPDATE"
    return RunSQL(
        f"CREATE TRIGGER raise_revision AFTER INSERT OR DELETE OR {update} ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION accounts_raise_revision();",
        reverse_sql=f"DROP TRIGGER raise_revision ON {table};",
    )
