"""How a text model of transformers is called, so that padding on either side changes no feature."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

import zoo
from zoo import UsageError
from zoo_transformers.families import FEELS_PADDING, FULL_MASK
from zoo_transformers.opening import first_line

_RELATIVE = frozenset({"bloom", "mt5", "t5", "umt5", "xlnet"})
"""Types without position ids whose features do not depend on where a text begins."""

_OTHERS = "`zoo list --modality text` shows backbones that do"


@dataclass(frozen=True)
class Calling:
    """What one model is given besides its ids."""

    arguments: frozenset[str]
    """That its forward takes."""
    types: bool
    """Whether it tells the two texts of a pair apart."""
    first_position: int
    """0 mostly, `padding_idx + 1` for RoBERTa and its descendants, 2 for Nystromformer."""
    full_mask: bool
    """Whether it takes a mask of (B, 1, T, T)."""
    padding: Literal["masked", "shifted", "removed"]
    """A mask and positions counted over real tokens are enough; or texts have to begin in the first column; or no
    padding may reach the model at all."""

    @classmethod
    def of(cls, model: nn.Module, family: str) -> Calling:
        """As the model's own forward says.

        Raises:
            UsageError: it takes no ids, or no mask although padding would change its features.
        """
        arguments = frozenset(inspect.signature(model.forward).parameters)
        needed = {"input_ids"} if family in FEELS_PADDING else {"input_ids", "attention_mask"}
        if not needed <= arguments:
            lacks = "ids" if "input_ids" not in arguments else "a mask, so padding would change its features"
            raise UsageError(f"{type(model).__name__} does not take {lacks}", help=_OTHERS)
        kinds = getattr(getattr(model, "config", None), "type_vocab_size", 0) or 0
        counted = "position_ids" in arguments or family in _RELATIVE
        return cls(
            arguments=arguments,
            types="token_type_ids" in arguments and (family == "xlnet" or kinds > 1),
            first_position=_first_position(model),
            full_mask=family in FULL_MASK and _attention(model) == "sdpa",
            padding="removed" if family in FEELS_PADDING else "masked" if counted else "shifted",
        )

    def tokens(self, model: nn.Module, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """(B, T, D) last hidden state; what stands at padding means nothing.

        Args:
            model: the one this was made for.
            ids: (B, T).
            mask: (B, T) bool, True = real.
            types: (B, T) 0 for the first text, 1 for the second; None: all of the first.
        """
        if self.padding == "masked":
            return self._call(model, ids, mask, types)
        if self.padding == "removed":
            return self._call_by_length(model, ids, mask, types)
        order = (~mask).long().argsort(dim=1, stable=True)
        types = None if types is None else types.gather(1, order)
        tokens = self._call(model, ids.gather(1, order), mask.gather(1, order), types)
        return tokens.gather(1, order.argsort(dim=1).unsqueeze(-1).expand_as(tokens))

    def width(self, model: nn.Module) -> int:
        """D of the tokens, by one text of one token; the model is left in the mode it was in.

        Raises:
            UsageError: the model wants more than ids and a mask.
        """
        training = model.training
        model.eval()
        ids = torch.zeros(1, 1, dtype=torch.int64)
        try:
            with torch.no_grad():
                return int(self._call(model, ids, torch.ones_like(ids, dtype=torch.bool), None).shape[-1])
        except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
            what = f"{type(model).__name__} does not run on a text alone: {first_line(error)}"
            raise UsageError(what, help=_OTHERS) from error
        finally:
            model.train(training)

    def _call(self, model: nn.Module, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        given: dict[str, Any] = {"input_ids": ids}
        if "attention_mask" in self.arguments:
            given["attention_mask"] = self._mask(mask)
        if "position_ids" in self.arguments:
            given["position_ids"] = zoo.positions(mask) + self.first_position
        if self.types:
            given["token_type_ids"] = torch.zeros_like(ids) if types is None else types
        for name in ("use_cache", "use_mems"):
            if name in self.arguments:
                given[name] = False
        return cast("Tensor", model(**given).last_hidden_state)

    def _mask(self, mask: Tensor) -> Tensor:
        # Of (B, T) the model asks whether all of it is real, and would have to wait for a card to say so.
        return full(mask) if self.full_mask and mask.is_cuda else mask.long()

    def _call_by_length(self, model: nn.Module, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Texts of one length at a time, without their padding."""
        lengths = mask.sum(1)
        out: Tensor | None = None
        for length in sorted(set(lengths.tolist())):
            at = mask & (lengths == length).unsqueeze(1)
            some = ids[at].view(-1, length)
            kinds = None if types is None else types[at].view(-1, length)
            tokens = self._call(model, some, torch.ones_like(some, dtype=torch.bool), kinds)
            out = tokens.new_zeros(*ids.shape, tokens.shape[-1]) if out is None else out
            out[at] = tokens.flatten(0, 1)
        assert out is not None
        return out


def full(mask: Tensor) -> Tensor:
    """(B, 1, T, T) bool of (B, T): which tokens each token looks at."""
    return mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1)


def _attention(model: nn.Module) -> str:
    return str(getattr(getattr(model, "config", None), "_attn_implementation", ""))


def vocabulary_rows(model: Any) -> int:
    """Rows of the table of token embeddings.

    Raises:
        UsageError: the model has none, as one that reads characters.
    """
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        raise UsageError(f"{type(model).__name__} has no table of token embeddings", help=_OTHERS) from None


def _first_position(model: nn.Module) -> int:
    embeddings: Any = getattr(model, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_inputs_embeds"):
        return int(embeddings.padding_idx) + 1
    table = getattr(embeddings, "position_ids", None)
    return int(table.flatten()[0]) if isinstance(table, Tensor) and table.numel() else 0
