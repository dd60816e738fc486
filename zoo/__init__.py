"""One interface to every pretrained backbone, whatever the modality.

Names are imported when first used, so `import zoo` costs nothing and never imports torch.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true; importing `typing` would double what `import zoo` costs

__version__ = "0.1.0"

_EXPORTS = {
    # errors
    "ZooError": "zoo.errors",
    "UsageError": "zoo.errors",
    "DataError": "zoo.errors",
    "WeightsError": "zoo.errors",
    "DivergedError": "zoo.errors",
    "PluginError": "zoo.errors",
    "UnknownNameError": "zoo.errors",
    "DuplicateNameError": "zoo.errors",
    # what exists
    "API_VERSION": "zoo.catalog.spec",
    "IMAGENET_MEAN": "zoo.catalog.spec",
    "IMAGENET_STD": "zoo.catalog.spec",
    "Modality": "zoo.catalog.spec",
    "Interpolation": "zoo.catalog.spec",
    "BackboneSpec": "zoo.catalog.spec",
    "WeightsSpec": "zoo.catalog.spec",
    "ImagePreprocess": "zoo.catalog.spec",
    "TextPreprocess": "zoo.catalog.spec",
    "AudioPreprocess": "zoo.catalog.spec",
    "LoadRequest": "zoo.catalog.spec",
    "HeadSpec": "zoo.catalog.spec",
    "StrategySpec": "zoo.catalog.spec",
    "ScorerSpec": "zoo.catalog.spec",
    "DatasetSpec": "zoo.catalog.spec",
    "ExporterSpec": "zoo.catalog.spec",
    "fingerprint": "zoo.catalog.spec",
    "hookimpl": "zoo.catalog.hooks",
    "Catalog": "zoo.catalog.catalog",
    "default_catalog": "zoo.catalog.discovery",
    # examples
    "Task": "zoo.data.types",
    "Dataset": "zoo.data.types",
    "Examples": "zoo.data.types",
    "ImageRef": "zoo.data.types",
    "Boxes": "zoo.data.boxes",
    "AudioRef": "zoo.data.types",
    "Audio": "zoo.data.audio",
    "AudioProcessor": "zoo.data.waveforms",
    "ReadOptions": "zoo.data.types",
    "Table": "zoo.data.types",
    "read_dataset": "zoo.data.reading",
    "Augment": "zoo.data.augment",
    "ImageProcessor": "zoo.data.transforms",
    "Loader": "zoo.data.batches",
    # what is loaded
    "Features": "zoo.models.features",
    "Pooling": "zoo.models.features",
    "join": "zoo.models.features",
    "pool": "zoo.models.features",
    "positions": "zoo.models.features",
    "last_real": "zoo.models.features",
    "first_real": "zoo.models.features",
    "Backbone": "zoo.models.backbone",
    "Inputs": "zoo.models.backbone",
    "Processor": "zoo.models.backbone",
    "Stage": "zoo.models.backbone",
    "DualEncoder": "zoo.models.dual",
    "stages_by_group": "zoo.models.stages",
    "Head": "zoo.models.heads",
    "LossHead": "zoo.models.heads",
    "Pyramid": "zoo.models.pyramid",
    "MapShapes": "zoo.models.pyramid",
    "detector": "zoo.models.detector",
    "Detector": "zoo.models.detector",
    "TrueBoxes": "zoo.models.detector",
    "FoundBoxes": "zoo.models.detector",
    "fetch": "zoo.models.weights",
    "read_weights": "zoo.models.weights",
    "load_state": "zoo.models.weights",
    "hub_folder": "zoo.models.weights",
    "load": "zoo.models.load",
    "fuse": "zoo.models.fusion",
    "wrap": "zoo.models.wrap",
    # verbs
    "check": "zoo.verbs.check",
    "extract": "zoo.verbs.extract",
    "extract_shards": "zoo.verbs.extract_shards",
    "read_features": "zoo.verbs.stored",
    "plan": "zoo.verbs.plan",
    "find_lr": "zoo.verbs.find_lr",
    "finetune": "zoo.verbs.finetune",
    "distill": "zoo.verbs.distill",
    "hybrid": "zoo.verbs.hybrid",
    "compare": "zoo.verbs.compare",
    "Comparison": "zoo.comparison.result",
    "report": "zoo.reporting.writing",
    "evaluate": "zoo.verbs.evaluate",
    "predict": "zoo.verbs.predict",
    "probe": "zoo.verbs.probe",
    "rank": "zoo.verbs.rank",
    "rank_layers": "zoo.verbs.layers",
    "Filters": "zoo.verbs.candidates",
    "Solution": "zoo.transfer.solvers",
    "zero_shot": "zoo.verbs.zero_shot",
    "cross_modal": "zoo.verbs.cross_modal",
    "runs": "zoo.verbs.runs",
    "open_run": "zoo.verbs.runs",
    "past_runs": "zoo.records.ledger",
    "record_run": "zoo.records.ledger",
    "PastRun": "zoo.records.entries",
    "list_backbones": "zoo.verbs.listing",
    "render": "zoo.verbs.render",
    "Rendered": "zoo.verbs.render",
    "resume": "zoo.verbs.finetune",
    "new_plugin": "zoo.verbs.new_plugin",
    "remove_run": "zoo.verbs.runs",
    "doctor": "zoo.verbs.doctor",
    "Training": "zoo.transfer.options",
    "DistillOptions": "zoo.transfer.teaching",
    "Output": "zoo.verbs.config",
    "Run": "zoo.verbs.run",
    "Phase": "zoo.transfer.strategies",
    "StageRow": "zoo.transfer.strategies",
    "Term": "zoo.transfer.terms",
    "Seen": "zoo.transfer.terms",
    "Setting": "zoo.transfer.terms",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'")
    import importlib

    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from zoo.catalog.catalog import Catalog as Catalog
    from zoo.catalog.discovery import default_catalog as default_catalog
    from zoo.catalog.hooks import hookimpl as hookimpl
    from zoo.catalog.spec import API_VERSION as API_VERSION
    from zoo.catalog.spec import IMAGENET_MEAN as IMAGENET_MEAN
    from zoo.catalog.spec import IMAGENET_STD as IMAGENET_STD
    from zoo.catalog.spec import AudioPreprocess as AudioPreprocess
    from zoo.catalog.spec import BackboneSpec as BackboneSpec
    from zoo.catalog.spec import DatasetSpec as DatasetSpec
    from zoo.catalog.spec import ExporterSpec as ExporterSpec
    from zoo.catalog.spec import HeadSpec as HeadSpec
    from zoo.catalog.spec import ImagePreprocess as ImagePreprocess
    from zoo.catalog.spec import Interpolation as Interpolation
    from zoo.catalog.spec import LoadRequest as LoadRequest
    from zoo.catalog.spec import Modality as Modality
    from zoo.catalog.spec import ScorerSpec as ScorerSpec
    from zoo.catalog.spec import StrategySpec as StrategySpec
    from zoo.catalog.spec import TextPreprocess as TextPreprocess
    from zoo.catalog.spec import WeightsSpec as WeightsSpec
    from zoo.catalog.spec import fingerprint as fingerprint
    from zoo.comparison.result import Comparison as Comparison
    from zoo.data.audio import Audio as Audio
    from zoo.data.augment import Augment as Augment
    from zoo.data.batches import Loader as Loader
    from zoo.data.boxes import Boxes as Boxes
    from zoo.data.reading import read_dataset as read_dataset
    from zoo.data.transforms import ImageProcessor as ImageProcessor
    from zoo.data.types import AudioRef as AudioRef
    from zoo.data.types import Dataset as Dataset
    from zoo.data.types import Examples as Examples
    from zoo.data.types import ImageRef as ImageRef
    from zoo.data.types import ReadOptions as ReadOptions
    from zoo.data.types import Table as Table
    from zoo.data.types import Task as Task
    from zoo.data.waveforms import AudioProcessor as AudioProcessor
    from zoo.errors import DataError as DataError
    from zoo.errors import DivergedError as DivergedError
    from zoo.errors import DuplicateNameError as DuplicateNameError
    from zoo.errors import PluginError as PluginError
    from zoo.errors import UnknownNameError as UnknownNameError
    from zoo.errors import UsageError as UsageError
    from zoo.errors import WeightsError as WeightsError
    from zoo.errors import ZooError as ZooError
    from zoo.models.backbone import Backbone as Backbone
    from zoo.models.backbone import Inputs as Inputs
    from zoo.models.backbone import Processor as Processor
    from zoo.models.backbone import Stage as Stage
    from zoo.models.detector import Detector as Detector
    from zoo.models.detector import FoundBoxes as FoundBoxes
    from zoo.models.detector import TrueBoxes as TrueBoxes
    from zoo.models.detector import detector as detector
    from zoo.models.dual import DualEncoder as DualEncoder
    from zoo.models.features import Features as Features
    from zoo.models.features import Pooling as Pooling
    from zoo.models.features import first_real as first_real
    from zoo.models.features import join as join
    from zoo.models.features import last_real as last_real
    from zoo.models.features import pool as pool
    from zoo.models.features import positions as positions
    from zoo.models.fusion import fuse as fuse
    from zoo.models.heads import Head as Head
    from zoo.models.heads import LossHead as LossHead
    from zoo.models.load import load as load
    from zoo.models.pyramid import MapShapes as MapShapes
    from zoo.models.pyramid import Pyramid as Pyramid
    from zoo.models.stages import stages_by_group as stages_by_group
    from zoo.models.weights import fetch as fetch
    from zoo.models.weights import hub_folder as hub_folder
    from zoo.models.weights import load_state as load_state
    from zoo.models.weights import read_weights as read_weights
    from zoo.models.wrap import wrap as wrap
    from zoo.records.entries import PastRun as PastRun
    from zoo.records.ledger import past_runs as past_runs
    from zoo.records.ledger import record_run as record_run
    from zoo.reporting.writing import report as report
    from zoo.transfer.options import Training as Training
    from zoo.transfer.solvers import Solution as Solution
    from zoo.transfer.strategies import Phase as Phase
    from zoo.transfer.strategies import StageRow as StageRow
    from zoo.transfer.teaching import DistillOptions as DistillOptions
    from zoo.transfer.terms import Seen as Seen
    from zoo.transfer.terms import Setting as Setting
    from zoo.transfer.terms import Term as Term
    from zoo.verbs.candidates import Filters as Filters
    from zoo.verbs.check import check as check
    from zoo.verbs.compare import compare as compare
    from zoo.verbs.config import Output as Output
    from zoo.verbs.cross_modal import cross_modal as cross_modal
    from zoo.verbs.distill import distill as distill
    from zoo.verbs.doctor import doctor as doctor
    from zoo.verbs.evaluate import evaluate as evaluate
    from zoo.verbs.extract import extract as extract
    from zoo.verbs.extract_shards import extract_shards as extract_shards
    from zoo.verbs.find_lr import find_lr as find_lr
    from zoo.verbs.finetune import finetune as finetune
    from zoo.verbs.finetune import resume as resume
    from zoo.verbs.hybrid import hybrid as hybrid
    from zoo.verbs.layers import rank_layers as rank_layers
    from zoo.verbs.listing import list_backbones as list_backbones
    from zoo.verbs.new_plugin import new_plugin as new_plugin
    from zoo.verbs.plan import plan as plan
    from zoo.verbs.predict import predict as predict
    from zoo.verbs.probe import probe as probe
    from zoo.verbs.rank import rank as rank
    from zoo.verbs.render import Rendered as Rendered
    from zoo.verbs.render import render as render
    from zoo.verbs.run import Run as Run
    from zoo.verbs.runs import open_run as open_run
    from zoo.verbs.runs import remove_run as remove_run
    from zoo.verbs.runs import runs as runs
    from zoo.verbs.stored import read_features as read_features
    from zoo.verbs.zero_shot import zero_shot as zero_shot
