"""Splits of the rows for cross-validation: which splitter, and what it is told beside the rows."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

from sklearn.base import is_classifier
from sklearn.model_selection import BaseCrossValidator, GroupKFold, StratifiedGroupKFold, check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from fewer.arguments import shown
from fewer.linear.arrays import labels_of
from fewer.linear.estimators.arguments import faults_in
from fewer.method import FewerError

__all__ = ["router", "splits"]


def splits(model: Any, X: Any, target: Any, sample_weight: Any, params: dict[str, Any]) -> Iterable[Any]:
    """Pairs of training and held-out rows; `target` is what the splitter stratifies by.

    With scikit-learn's metadata routing enabled, the splitter gets what it asks for; without, `groups`.
    """
    cv = check_cv(_given(model.cv), target, classifier=is_classifier(model))
    if _routed():
        told = process_routing(model, "fit", sample_weight=sample_weight, **params).splitter.split
        return list(cv.split(X, target, **told))
    unknown = sorted(set(params) - {"groups"})
    if unknown:
        raise FewerError(
            f"{type(model).__name__}.fit got '{unknown[0]}'; without scikit-learn's metadata routing it takes "
            "sample_weight, and groups for the splitter"
        )
    groups = params.get("groups")
    if groups is None:
        with faults_in("cv", model.cv):
            return list(cv.split(X, target))
    labels = _checked(groups, X)
    with faults_in("groups", groups):
        return list(_grouped(model, cv).split(X, target, groups=labels))


def _given(cv: Any) -> Any:
    """`cv`; what lists the splits as a list of pairs."""
    if cv is None or isinstance(cv, numbers.Integral) or hasattr(cv, "split"):
        return cv
    pairs = [tuple(split) if isinstance(split, Iterable) else (split,) for split in cv]
    wrong = [split for split in pairs if len(split) != 2]
    if wrong:
        raise FewerError(f"cv holds {shown(wrong[0])}; give pairs (training rows, held-out rows)")
    return pairs


def _routed() -> bool:
    from sklearn import get_config

    return bool(get_config()["enable_metadata_routing"])


def _grouped(model: Any, cv: Any) -> Any:
    """The splitter; a number of folds becomes one that keeps groups together."""
    if model.cv is None or isinstance(model.cv, numbers.Integral):
        kind = StratifiedGroupKFold if is_classifier(model) else GroupKFold
        return kind(cv.get_n_splits())
    if not isinstance(model.cv, BaseCrossValidator) and not hasattr(model.cv, "split"):
        raise FewerError(f"{type(model).__name__}: groups say nothing where cv lists the splits; give one of the two")
    return cv


def _checked(groups: Any, X: Any) -> Any:
    """(n,) labels of the rows."""
    labels = labels_of(groups, "groups")
    if labels.shape != (X.shape[0],):
        raise FewerError(f"groups of fit have shape {labels.shape}; give one label for each of {X.shape[0]} rows")
    return labels


def router(model: Any) -> MetadataRouter:
    """Metadata of `fit` as scikit-learn routes it: its own weights, and what the splitter asks for."""
    own = MetadataRouter(owner=model).add_self_request(model)
    return own.add(splitter=check_cv(model.cv), method_mapping=MethodMapping().add(caller="fit", callee="split"))
