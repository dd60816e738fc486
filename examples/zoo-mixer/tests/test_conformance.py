"""zoo's conformance kit on everything that this plugin offers: a test for every check, one line for each thing."""

from __future__ import annotations

import zoo_mixer

import zoo
from zoo.testing import backbone_tests, head_tests, scorer_tests

CATALOG = zoo.Catalog.of({"mixer": zoo_mixer})

test_mixer = backbone_tests("mixer/mixer-tiny", catalog=CATALOG)
test_prototypes = head_tests("cosine-prototypes", catalog=CATALOG)
test_centroid = scorer_tests("nearest-centroid", catalog=CATALOG)
