"""A dual encoder of open_clip as a backbone: its image tower, its text tower, or both."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

import zoo
from zoo import (
    Backbone,
    DualEncoder,
    Features,
    ImagePreprocess,
    ImageProcessor,
    Inputs,
    LoadRequest,
    Modality,
    Pooling,
    Processor,
    Stage,
    UsageError,
    WeightsError,
)
from zoo_open_clip.config import CONFIG, ModelConfig
from zoo_open_clip.image import image_tower
from zoo_open_clip.loading import (
    TEXT_MODEL,
    TOKENIZER,
    Towers,
    config_of,
    construct,
    load_weights,
    tokenizer_files,
    tokenizer_folder,
    weights_file,
    with_text_model,
)
from zoo_open_clip.text import text_tower
from zoo_open_clip.tokens import TextProcessor


def build(request: LoadRequest) -> Backbone:
    """The towers that are asked for, random or with their weights.

    Raises:
        WeightsError: weights or tokenizer that are missing, damaged or not of this architecture.
    """
    wanted = request.weights if request.assets is None else None
    # First what may be missing: building a large model takes a while.
    file = None if wanted is None else weights_file(wanted, offline=request.offline)
    config = config_of(request)
    if request.image_size is not None:
        config = config.with_image_size(request.image_size)
    folder = None
    if "text" in request.towers:
        folder = tokenizer_folder(config, offline=request.offline)
        config = with_text_model(config, offline=request.offline)
    backbone = OpenClipBackbone(construct(config, request.towers), request, config, folder)
    if file is not None:
        load_weights(backbone, file)
    return backbone


class OpenClipBackbone(DualEncoder):
    """One tower of a dual encoder, or both side by side.

    Pooled features are the embeddings in the space that image and text share, as `encode_image` and `encode_text` give
    them with `normalize=False`, so that their length is kept; of both towers, one after the other. Tokens are the
    tower's own, of its own width.
    """

    def __init__(self, towers: Towers, request: LoadRequest, config: ModelConfig, tokenizer: Path | None) -> None:
        super().__init__()
        self.modalities: tuple[Modality, ...] = request.towers
        self.visual = towers.visual
        self.text = towers.text
        # No feature depends on them: they are for heads that compare image and text.
        self.register_buffer("logit_scale", towers.logit_scale)
        self.register_buffer("logit_bias", towers.logit_bias)
        self._image = None if self.visual is None else image_tower(self.visual)
        self._text = None if self.text is None else text_tower(self.text)
        self._request = request
        self._config = config
        self._tokenizer = tokenizer
        self._embed_dim = int(config.model["embed_dim"])
        preprocess = dict(request.preprocess) or {
            "image": config.image_preprocess(),
            "text": config.text_preprocess(),
        }
        self._processors = self._make_processors(preprocess["image"])
        self.pooling = "native"
        self.weights = request.weights
        if self.weights is not None:
            self.weights = replace(self.weights, preprocess={"image": preprocess["image"]})
        self.spec = replace(
            request.spec,
            dim=self.dim,
            params=sum(parameter.numel() for parameter in self.parameters()),
            image_size=config.image_size[0],
            context_length=config.context_length,
            stages=tuple(stage.name for stage in self.stages()),
            preprocess=preprocess,
        )

    @property
    def pooling(self) -> Pooling:
        """ "native" is the embedding; the other ways summarise the tower's tokens."""
        return self._pooling

    @pooling.setter
    def pooling(self, how: Pooling) -> None:
        if how == "cls" and self._image is not None:
            raise UsageError(
                f"the tokens of {self.modalities[0]} towers of open_clip have no class token",
                help="leave --pooling at native, which is made from it where there is one, or give mean or max",
            )
        self._pooling: Pooling = how
        towers = [tower for tower in (self._image, self._text) if tower is not None]
        self.dim = sum(self._embed_dim if how == "native" else tower.width for tower in towers)

    def forward(self, batch: Inputs) -> Features:
        """Features of images, of texts, or of both side by side."""
        parts = []
        if self._image is not None:
            seen = self._image(batch["image"]["pixels"])
            parts.append(self._pooled(Features(seen.pooled, seen.tokens, grid=seen.grid)))
        if self._text is not None:
            read = self._text(*_real_first(batch["text"]["ids"], batch["text"]["mask"]))
            parts.append(self._pooled(Features(read.pooled, read.tokens, read.mask)))
        return zoo.join(parts)

    def stages(self) -> Sequence[Stage]:
        """`image.stem`, ..., `image.top`, `text.stem`, ..., `text.top`; each tower is a branch."""
        return [stage for tower in (self._image, self._text) if tower is not None for stage in tower.stages()]

    def tower(self, modality: Modality) -> OpenClipBackbone:
        image, text = modality == "image", modality == "text"
        towers = Towers(
            self.visual if image else None, self.text if text else None, self.logit_scale.clone(), self.logit_bias
        )
        if towers.visual is None and towers.text is None:
            raise self.no_tower(modality)
        request = replace(self._request, towers=(modality,))
        alone = OpenClipBackbone(towers, request, self._config, self._tokenizer if text else None)
        alone.name, alone.weights, alone.pooling = self.name, self.weights, self.pooling
        return alone.train(self.training)

    def processor(self, modality: Modality) -> Processor:
        if modality not in self._processors:
            raise UsageError(
                f"{self.name or self.spec.name} serves {' and '.join(self.modalities)}, not {modality}",
                help=f"load it with :{modality}, or without a tower for both",
            )
        return self._processors[modality]

    def save_assets(self, folder: Path) -> None:
        """The configuration, and where the text tower is of transformers its configuration and tokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self._config
        if self.text is not None and config.text.get("hf_model_name"):
            _copy([Path(str(config.text["hf_model_name"])) / "config.json"], folder / TEXT_MODEL)
            config = config.with_text(hf_model_name=TEXT_MODEL)
        if self._tokenizer is not None:
            _copy(tokenizer_files(self._tokenizer), folder / TOKENIZER)
            config = config.with_text(hf_tokenizer_name=TOKENIZER)
        (folder / CONFIG).write_text(json.dumps(config.to_json(), indent=1) + "\n", encoding="utf-8")

    def _pooled(self, features: Features) -> Features:
        if self._pooling == "native":
            return features
        return replace(features, pooled=zoo.pool(features.tokens, features.mask, self._pooling))

    def _make_processors(self, image: Any) -> dict[Modality, Processor]:
        found: dict[Modality, Processor] = {}
        if self._image is not None:
            assert isinstance(image, ImagePreprocess)
            found["image"] = ImageProcessor(image)
        if self._text is not None:
            tower, config = self._text, self._config
            found["text"] = TextProcessor(
                open_tokenizer(config, self._tokenizer),
                tower.padding,
                rows=tower.rows,
                settings=[
                    config.context_length,
                    config.text.get("tokenizer_kwargs"),
                    config.text.get("tokenizer_mode"),
                ],
                files=tokenizer_files(self._tokenizer) if self._tokenizer is not None else (),
            )
        return found


def open_tokenizer(config: ModelConfig, folder: Path | None) -> Any:
    """open_clip's tokenizer, of its own or around one of transformers; code of a repository is never run.

    Raises:
        WeightsError: no tokenizer in the folder, or a damaged one.
    """
    from open_clip.tokenizer import HFTokenizer

    options = dict(config.text.get("tokenizer_kwargs") or {})
    if folder is None:
        return _own_tokenizer(config.context_length, json.dumps(options))
    if not tokenizer_files(folder):
        raise WeightsError(f"{folder} holds no tokenizer", help=f"copy tokenizer.json beside {CONFIG}")
    options["trust_remote_code"] = False
    try:
        return HFTokenizer(
            str(folder),
            context_length=config.context_length,
            tokenizer_mode=config.text.get("tokenizer_mode"),
            **options,
        )
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(f"the tokenizer in {folder} cannot be read: {lines[0]}") from error


@functools.lru_cache(maxsize=8)
def _own_tokenizer(context_length: int, options: str) -> Any:
    """open_clip's own tokenizer, read once: it is told its context length and options (JSON) and changes no more."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length, **json.loads(options))


def _real_first(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) ids and their mask with the padding on the right, where these towers count their positions from."""
    order = (~mask).long().argsort(dim=1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)


def _copy(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if file.resolve() != (folder / file.name).resolve():
            shutil.copyfile(file, folder / file.name)
