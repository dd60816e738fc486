"""Sentence encoders."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_transformers.families import How
from zoo_transformers.known.entry import Entry, Sizes, encoder

SBERT = "https://arxiv.org/abs/1908.10084"


def sentences() -> Iterator[Entry]:
    """Those of sentence-transformers first."""
    short, long = encoder(6, 384, 12), encoder(12, 384, 12)
    base, large = encoder(12, 768, 12), encoder(24, 1024, 16)
    roberta = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
    many = {**encoder(12, 384, 12), "vocab_size": 250037}
    distil = {**encoder(6, 768, 12), **roberta, "vocab_size": 50265}
    wide = {**base, **roberta, "vocab_size": 250002}
    mpnet = {"max_position_embeddings": 514, "vocab_size": 30527, "pad_token_id": 1}
    own: tuple[tuple[str, str, Sizes, How, int], ...] = (
        ("all-MiniLM-L6-v2", "bert", short, "mean", 256),
        ("all-MiniLM-L12-v2", "bert", long, "mean", 128),
        ("all-mpnet-base-v2", "mpnet", mpnet, "mean", 384),
        ("all-distilroberta-v1", "roberta", distil, "mean", 512),
        ("paraphrase-MiniLM-L6-v2", "bert", short, "mean", 128),
        ("paraphrase-mpnet-base-v2", "mpnet", mpnet, "mean", 512),
        ("paraphrase-multilingual-MiniLM-L12-v2", "bert", many, "mean", 128),
        ("paraphrase-multilingual-mpnet-base-v2", "xlm-roberta", wide, "mean", 128),
        ("multi-qa-MiniLM-L6-cos-v1", "bert", short, "mean", 512),
        ("multi-qa-mpnet-base-dot-v1", "mpnet", mpnet, "cls", 512),
    )
    for name, family, config, pooling, length in own:
        repo = f"sentence-transformers/{name}"
        licence = None if name == "multi-qa-MiniLM-L6-cos-v1" or "dot" in name else "Apache-2.0"
        yield Entry(repo, family, config, licence, paper=SBERT, pooling=pooling, length=length)
    labse = {**base, "vocab_size": 501153}
    yield Entry(
        "sentence-transformers/LaBSE", "bert", labse, "Apache-2.0", paper="https://arxiv.org/abs/2007.01852",
        pooling="cls", length=256, dense=(768, 768, 768),
    )  # fmt: skip
    t5 = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32128}
    for name in ("sentence-t5-base", "gtr-t5-base"):
        repo = f"sentence-transformers/{name}"
        length = 256 if name.startswith("sentence") else 512
        yield Entry(repo, "t5", t5, "Apache-2.0", pooling="mean", length=length, dense=(768, 768, 0))
    for prefix, pooling, paper in (
        ("BAAI/bge-{}-en-v1.5", "cls", "https://arxiv.org/abs/2309.07597"),
        ("intfloat/e5-{}-v2", "mean", "https://arxiv.org/abs/2212.03533"),
        ("thenlper/gte-{}", "mean", "https://arxiv.org/abs/2308.03281"),
    ):
        how: How = "cls" if pooling == "cls" else "mean"
        for name, sizes in (("small", long), ("base", base), ("large", large)):
            yield Entry(prefix.format(name), "bert", sizes, "MIT", paper=paper, pooling=how)
    for name, many_sizes in (("small", many), ("base", {**base, **roberta, "vocab_size": 250002})):
        family = "bert" if name == "small" else "xlm-roberta"
        repo = f"intfloat/multilingual-e5-{name}"
        yield Entry(repo, family, many_sizes, "MIT", paper="https://arxiv.org/abs/2402.05672", pooling="mean")
    bread = {**large}
    yield Entry("mixedbread-ai/mxbai-embed-large-v1", "bert", bread, "Apache-2.0", pooling="cls")
    yield Entry("microsoft/mpnet-base", "mpnet", mpnet, None, paper="https://arxiv.org/abs/2004.09297")
