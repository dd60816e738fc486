"""Every law of a backbone, and the check that holds one against them."""

from __future__ import annotations

from collections.abc import Collection

from zoo.catalog.catalog import Catalog
from zoo.catalog.spec import BackboneSpec
from zoo.models.backbone import Backbone
from zoo.testing.backbone_features import FEATURE_LAWS
from zoo.testing.backbone_space import SPACE_LAWS
from zoo.testing.backbone_spec import SPEC_LAWS
from zoo.testing.backbone_stages import STAGE_LAWS
from zoo.testing.backbone_state import STATE_LAWS
from zoo.testing.report import Conformance, laws_of
from zoo.testing.subject import BackboneSubject

BACKBONE_LAWS = laws_of("backbone", SPEC_LAWS, FEATURE_LAWS, STAGE_LAWS, STATE_LAWS, SPACE_LAWS)


def check_backbone(
    backbone: str | BackboneSpec | Backbone,
    *,
    catalog: Catalog | None = None,
    weights: str | None = "random",
    image_size: int | None = None,
    only: Collection[str] | None = None,
) -> Conformance:
    """Hold one backbone against every law of the contract, on the CPU and offline.

    Args:
        backbone: a name such as "mine/tiny", a specification, or a backbone that is built already.
        catalog: where a name is looked up; the installed plugins by default.
        weights: "random" needs nothing but the factory; None takes the default weights.
        image_size: pixels of the shorter side, for a convolutional network that takes any: checks at 64 are quick.
        only: names of the checks to run; all of them if None.

    Raises:
        UnknownNameError: no backbone or check has that name.
    """
    subject = BackboneSubject(backbone, catalog=catalog, weights=weights, image_size=image_size)
    return BACKBONE_LAWS.hold(subject.name, subject, only=only)
