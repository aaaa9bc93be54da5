"""`fewer select`: which columns of a table explain its target."""

from __future__ import annotations

import click

from fewer.cli.options import as_json, numbers
from fewer.cli.show import check_page, progress, result
from fewer.method import FewerError

__all__ = ["command"]

_FAMILIES = "gaussian, binomial, multinomial, poisson, cox, ordinal, quantile"


@click.command("select")
@click.argument("table", metavar="TABLE")
@click.option("--target", metavar="COLUMN", required=True, help="Column to explain; time,event for cox.")
@click.option("--family", metavar="FAMILY", default="gaussian", show_default=True, help=f"One of {_FAMILIES}.")
@click.option("--rule", metavar="RULE", default="1se", show_default=True, help="min, or 1se for the sparser model.")
@click.option("--folds", metavar="N", type=int, default=5, show_default=True, help="Folds of the cross-validation.")
@click.option(
    "--strengths",
    metavar="N",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Penalties on the path.",
)
@click.option("--drop", metavar="COLUMN", multiple=True, help="Leave a column out; may be given several times.")
@click.option("--missing", metavar="WHAT", default="error", show_default=True, help="error, mean, or drop (rows).")
@click.option(
    "--max-levels", metavar="N", type=int, default=50, show_default=True, help="Most levels of a text column."
)
@click.option("--levels", metavar="A,B,C", default="", help="Order of an ordinal target's labels.")
@click.option("--factor", metavar="COLUMN=F", multiple=True, help="Penalty factor; 0 keeps a column, inf excludes it.")
@click.option("--weights", metavar="COLUMN", help="Column of row weights.")
@click.option("--groups", metavar="COLUMN", help="Column of labels; rows with the same one stay in one fold.")
@click.option(
    "--beliefs", metavar="FILE", help="Beliefs (CSV column,belief or JSON); larger means less likely to matter."
)
@click.option("--mix", metavar="A,B", default="1", show_default=True, help="Shares of L1 against ridge to choose from.")
@click.option("--relaxed", is_flag=True, help="Take shrinkage back, as far as cross-validation likes (gaussian).")
@click.option(
    "--quantile", metavar="Q", type=float, default=0.5, show_default=True, help="Which quantile, for that family."
)
@click.option("--ties", metavar="RULE", default="breslow", show_default=True, help="breslow or efron, for cox.")
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Seed of the folds.")
@click.option("--html", metavar="FILE", help="Write a report with path, cross-validation and coefficients.")
@as_json
def command(
    table: str, target: str, family: str, rule: str, folds: int, strengths: int, drop: tuple[str, ...], missing: str,
    max_levels: int, levels: str, factor: tuple[str, ...], weights: str | None, groups: str | None,
    beliefs: str | None, mix: str, relaxed: bool, quantile: float, ties: str, seed: int, html: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Choose the columns of TABLE (CSV, Parquet, Arrow, svmlight) that explain a target.

    Prints the chosen columns, the held-out loss and the certificate of the answer. Text columns become groups of
    indicators that enter together. What happens to missing values and other faults stands in docs/tables.md.

    Example: fewer select data.csv --target price --html report.html
    """
    check_page(html)
    from fewer.report.selection import summary
    from fewer.verbs.select import select_columns

    if beliefs:
        from fewer.linear.beliefs import read_beliefs
    with progress(as_json=as_json, what="cross-validating"):
        found = select_columns(
            table, target, family=family, rule=rule, folds=folds, n_alphas=strengths, drop=drop, missing=missing,
            max_levels=max_levels, levels=[part.strip() for part in levels.split(",") if part.strip()],
            factors=_factors(factor), weights=weights, groups=groups,
            beliefs=read_beliefs(beliefs) if beliefs else None, mix=numbers(mix, "--mix"), relaxed=relaxed,
            quantile=quantile, ties=ties, seed=seed,
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
        if name in factors:
            raise FewerError(f"--factor gives '{name}' two penalty factors")
        try:
            factors[name] = float(value)
        except ValueError:
            sign = ""
        if not sign:
            raise FewerError(f"--factor '{pair}' is not COLUMN=NUMBER")
    return factors
