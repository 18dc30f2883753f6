"""Text in aligned columns, for a terminal. Pure."""

from collections.abc import Sequence
from decimal import Decimal


def table(rows: Sequence[Sequence[object]]) -> str:
    """One line a row, all equally long. Columns with numbers are set right; a Decimal is USD, to the nano."""
    columns = list(zip(*rows, strict=True))
    right = [any(isinstance(cell, int | Decimal) for cell in column) for column in columns]
    widths = [max(len(_written(cell)) for cell in column) for column in columns]
    return "\n".join(
        "  ".join(
            f"{_written(cell):{'>' if is_right else '<'}{width}}"
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )


def details(pairs: Sequence[tuple[str, object]]) -> str:
    """Names and their values, indented, the values under each other."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in pairs)


def _written(cell: object) -> str:
    if isinstance(cell, Decimal):
        return f"{cell:,.9f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
