"""`fewer select`: which columns of a table explain its target."""

from __future__ import annotations

import click

from fewer.cli.options import as_json
from fewer.cli.show import check_page, result
from fewer.method import FewerError

__all__ = ["command"]

_FAMILIES = "gaussian, binomial, multinomial, poisson, cox, ordinal, quantile"


@click.command("select")
@click.argument("table", metavar="TABLE")
@click.option("--target", metavar="COLUMN", required=True, help="Column to explain; time,event for cox.")
@click.option("--family", metavar="FAMILY", default="gaussian", show_default=True, help=f"One of {_FAMILIES}.")
@click.option("--rule", metavar="RULE", default="1se", show_default=True, help="min, or 1se for the sparser model.")
@click.option("--folds", metavar="N", type=int, default=5, show_default=True, help="Folds of the cross-validation.")
@click.option("--drop", metavar="COLUMN", multiple=True, help="Leave a column out; may be given several times.")
@click.option("--missing", metavar="WHAT", default="error", show_default=True, help="error, mean, or drop (rows).")
@click.option(
    "--max-levels", metavar="N", type=int, default=50, show_default=True, help="Most levels of a text column."
)
@click.option("--levels", metavar="A,B,C", default="", help="Order of an ordinal target's labels.")
@click.option("--factor", metavar="COLUMN=F", multiple=True, help="Penalty factor; 0 keeps a column, inf excludes it.")
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Seed of the folds.")
@click.option("--html", metavar="FILE", help="Write a report with path, cross-validation and coefficients.")
@as_json
def command(
    table: str, target: str, family: str, rule: str, folds: int, drop: tuple[str, ...], missing: str, max_levels: int,
    levels: str, factor: tuple[str, ...], seed: int, html: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Choose the columns of TABLE (CSV, Parquet, Arrow, svmlight) that explain a target.

    Prints the chosen columns, the held-out loss and the certificate of the answer.

    Example: fewer select data.csv --target price --html report.html
    """
    check_page(html)
    from fewer.report.selection import summary
    from fewer.verbs.select import select_columns

    found = select_columns(
        table, target, family=family, rule=rule, folds=folds, drop=drop, missing=missing, max_levels=max_levels,
        levels=[part.strip() for part in levels.split(",") if part.strip()], factors=_factors(factor), seed=seed,
    )  # fmt: skip
    if html:
        found.to_html(html)
    tail = f"\nreport: {html}" if html else ""
    result(found, lambda: summary(found) + tail, as_json=as_json)


def _factors(given: tuple[str, ...]) -> dict[str, float]:
    """`COLUMN=F` pairs."""
    factors = {}
    for pair in given:
        name, sign, value = pair.rpartition("=")
        try:
            factors[name] = float(value)
        except ValueError:
            sign = ""
        if not sign:
            raise FewerError(f"--factor '{pair}' is not COLUMN=NUMBER")
    return factors
