"""Encoders and decoders of text, as pretrained."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_transformers.known.entry import WIKI, Entry, Sizes, encoder

BERT, ROBERTA = "https://arxiv.org/abs/1810.04805", "https://arxiv.org/abs/1907.11692"


def texts() -> Iterator[Entry]:
    """Family by family."""
    for family in (
        _bert, _gpt, _xlnet, _roberta, _distilbert, _albert, _electra, _deberta, _t5, _modernbert, _decoders
    ):  # fmt: skip
        yield from family()


def _bert() -> Iterator[Entry]:
    base, large = encoder(12, 768, 12), encoder(24, 1024, 16)
    for name, sizes, vocabulary, text in (
        ("bert-base-uncased", base, 30522, WIKI),
        ("bert-base-cased", base, 28996, WIKI),
        ("bert-large-uncased", large, 30522, WIKI),
        ("bert-large-cased", large, 28996, WIKI),
        ("bert-large-uncased-whole-word-masking", large, 30522, WIKI),
        ("bert-large-cased-whole-word-masking", large, 28996, WIKI),
        ("bert-base-multilingual-cased", base, 119547, "Wikipedia, 104 languages"),
        ("bert-base-multilingual-uncased", base, 105879, "Wikipedia, 102 languages"),
        ("bert-base-chinese", base, 21128, "Chinese Wikipedia"),
    ):
        config = {**sizes, "vocab_size": vocabulary}
        yield Entry(f"google-bert/{name}", "bert", config, "Apache-2.0", text, BERT)
    for L, H in ((2, 128), (4, 256), (4, 512), (8, 512)):
        name = f"google/bert_uncased_L-{L}_H-{H}_A-{H // 64}"
        yield Entry(name, "bert", encoder(L, H, H // 64), "Apache-2.0", WIKI, BERT)


def _gpt() -> Iterator[Entry]:
    yield Entry("openai-community/openai-gpt", "openai-gpt", licence="MIT", trained_on="BookCorpus")
    for name, L, H, A in (
        ("gpt2", 12, 768, 12),
        ("gpt2-medium", 24, 1024, 16),
        ("gpt2-large", 36, 1280, 20),
        ("gpt2-xl", 48, 1600, 25),
    ):
        config = {"n_layer": L, "n_embd": H, "n_head": A}
        yield Entry(f"openai-community/{name}", "gpt2", config, "MIT", "WebText")
    yield Entry("distilbert/distilgpt2", "gpt2", {"n_layer": 6}, "Apache-2.0", "OpenWebText")


def _xlnet() -> Iterator[Entry]:
    paper = "https://arxiv.org/abs/1906.08237"
    for name, L, H, A in (("xlnet-base-cased", 12, 768, 12), ("xlnet-large-cased", 24, 1024, 16)):
        config = {"n_layer": L, "d_model": H, "n_head": A, "d_inner": 4 * H}
        yield Entry(f"xlnet/{name}", "xlnet", config, "MIT", paper=paper)


def _roberta() -> Iterator[Entry]:
    shared = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
    base, large = encoder(12, 768, 12, **shared), encoder(24, 1024, 16, **shared)
    for name, sizes in (("roberta-base", base), ("roberta-large", large)):
        config = {**sizes, "vocab_size": 50265}
        yield Entry(f"FacebookAI/{name}", "roberta", config, "MIT", "160 GB of English text", ROBERTA)
    distil = {**encoder(6, 768, 12, **shared), "vocab_size": 50265}
    yield Entry("distilbert/distilroberta-base", "roberta", distil, "Apache-2.0", "OpenWebText")
    for name, sizes in (("xlm-roberta-base", base), ("xlm-roberta-large", large)):
        config = {**sizes, "vocab_size": 250002}
        paper = "https://arxiv.org/abs/1911.02116"
        yield Entry(f"FacebookAI/{name}", "xlm-roberta", config, "MIT", "CommonCrawl, 100 languages", paper)
    camembert = {**base, "vocab_size": 32005}
    paper = "https://arxiv.org/abs/1911.03894"
    yield Entry("almanach/camembert-base", "camembert", camembert, "MIT", "OSCAR, French", paper)


def _distilbert() -> Iterator[Entry]:
    paper = "https://arxiv.org/abs/1910.01108"
    for name, vocabulary in (
        ("distilbert-base-uncased", 30522),
        ("distilbert-base-cased", 28996),
        ("distilbert-base-multilingual-cased", 119547),
    ):
        yield Entry(f"distilbert/{name}", "distilbert", {"vocab_size": vocabulary}, "Apache-2.0", paper=paper)


def _albert() -> Iterator[Entry]:
    paper = "https://arxiv.org/abs/1909.11942"
    for name, L, H, A in (
        ("base", 12, 768, 12),
        ("large", 24, 1024, 16),
        ("xlarge", 24, 2048, 16),
        ("xxlarge", 12, 4096, 64),
    ):
        config = {**encoder(L, H, A), "embedding_size": 128}
        yield Entry(f"albert/albert-{name}-v2", "albert", config, "Apache-2.0", WIKI, paper)


def _electra() -> Iterator[Entry]:
    paper = "https://arxiv.org/abs/2003.10555"
    for name, L, H, A, E in (("small", 12, 256, 4, 128), ("base", 12, 768, 12, 768), ("large", 24, 1024, 16, 1024)):
        config = {**encoder(L, H, A), "embedding_size": E}
        yield Entry(f"google/electra-{name}-discriminator", "electra", config, "Apache-2.0", paper=paper)


def _deberta() -> Iterator[Entry]:
    first: Sizes = {"relative_attention": True, "position_biased_input": False, "max_relative_positions": -1}
    first |= {"pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0}
    paper = "https://arxiv.org/abs/2006.03654"
    for name, L, H, A in (("base", 12, 768, 12), ("large", 24, 1024, 16)):
        config = {**encoder(L, H, A), **first, "vocab_size": 50265}
        yield Entry(f"microsoft/deberta-{name}", "deberta", config, "MIT", paper=paper)
    third = {**first, "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True}
    paper = "https://arxiv.org/abs/2111.09543"
    for name, L, H, A, V in (
        ("deberta-v3-xsmall", 12, 384, 6, 128100),
        ("deberta-v3-small", 6, 768, 12, 128100),
        ("deberta-v3-base", 12, 768, 12, 128100),
        ("deberta-v3-large", 24, 1024, 16, 128100),
        ("mdeberta-v3-base", 12, 768, 12, 251000),
    ):
        config = {**encoder(L, H, A), **third, "vocab_size": V}
        yield Entry(f"microsoft/{name}", "deberta-v2", config, "MIT", paper=paper)


def _t5() -> Iterator[Entry]:
    paper = "https://arxiv.org/abs/1910.10683"
    small = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
    base = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    large = {"d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_layers": 24, "num_heads": 16}
    for name, sizes in (("t5-small", small), ("t5-base", base), ("t5-large", large)):
        yield Entry(f"google-t5/{name}", "t5", {**sizes, "vocab_size": 32128}, "Apache-2.0", "C4", paper)
    gated_small = {**small, "d_ff": 1024, "num_layers": 8, "num_heads": 6}
    gated_base, gated_large = {**base, "d_ff": 2048}, {**large, "d_ff": 2816}
    gated_xl = {**large, "d_model": 2048, "d_ff": 5120, "num_heads": 32}
    gated = (("small", gated_small), ("base", gated_base), ("large", gated_large), ("xl", gated_xl))
    kind = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    for name, sizes in gated:
        config = {**sizes, **kind, "vocab_size": 32128}
        flan = "https://arxiv.org/abs/2210.11416"
        yield Entry(f"google/flan-t5-{name}", "t5", config, "Apache-2.0", "C4, then instructions", flan)
    for name, sizes in gated[:3]:
        config = {**sizes, **kind, "vocab_size": 250112}
        paper = "https://arxiv.org/abs/2010.11934"
        yield Entry(f"google/mt5-{name}", "mt5", config, "Apache-2.0", "mC4, 101 languages", paper)


def _modernbert() -> Iterator[Entry]:
    paper = "https://arxiv.org/abs/2412.13663"
    for name, L, H, A, F in (("base", 22, 768, 12, 1152), ("large", 28, 1024, 16, 2624)):
        config = {**encoder(L, H, A, F), "vocab_size": 50368, "classifier_pooling": "mean"}
        yield Entry(f"answerdotai/ModernBERT-{name}", "modernbert", config, "Apache-2.0", paper=paper)


def _decoders() -> Iterator[Entry]:
    def llama(L: int, H: int, A: int, KV: int, F: int, V: int, context: int, **more: int) -> Sizes:
        return {**encoder(L, H, A, F, V), "num_key_value_heads": KV, "max_position_embeddings": context, **more}

    tiny = llama(22, 2048, 32, 4, 5632, 32000, 2048)
    yield Entry("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "llama", tiny, "Apache-2.0", "SlimPajama, Starcoderdata")
    for prefix, context in (("SmolLM-", 2048), ("SmolLM2-", 8192)):
        for name, sizes in (
            ("135M", llama(30, 576, 9, 3, 1536, 49152, context)),
            ("360M", llama(32, 960, 15, 5, 2560, 49152, context)),
            ("1.7B", llama(24, 2048, 32, 32, 8192, 49152, context)),
        ):
            yield Entry(f"HuggingFaceTB/{prefix}{name}", "llama", sizes, "Apache-2.0")
    small = llama(24, 896, 14, 2, 4864, 151936, 32768)
    yield Entry("Qwen/Qwen2.5-0.5B", "qwen2", small, "Apache-2.0")
    yield Entry("Qwen/Qwen2.5-1.5B", "qwen2", llama(28, 1536, 12, 2, 8960, 151936, 131072), "Apache-2.0")
    third = llama(28, 1024, 16, 8, 3072, 151936, 40960, head_dim=128)
    yield Entry("Qwen/Qwen3-0.6B", "qwen3", third, "Apache-2.0")
    meta = llama(16, 2048, 32, 8, 8192, 128256, 131072, head_dim=64)
    yield Entry("meta-llama/Llama-3.2-1B", "llama", meta, "llama3.2")
    mistral = llama(32, 4096, 32, 8, 14336, 32000, 32768)
    yield Entry("mistralai/Mistral-7B-v0.1", "mistral", mistral, "Apache-2.0", paper="https://arxiv.org/abs/2310.06825")
    for name, L, H, A, V in (("70m", 6, 512, 8, 50304), ("160m", 12, 768, 12, 50304), ("410m", 24, 1024, 16, 50304)):
        config = {**encoder(L, H, A, None, V), "max_position_embeddings": 2048}
        paper = "https://arxiv.org/abs/2304.01373"
        yield Entry(f"EleutherAI/pythia-{name}", "gpt_neox", config, "Apache-2.0", "The Pile", paper)
    yield Entry(
        "facebook/opt-125m", "opt", {"max_position_embeddings": 2048}, "other", paper="https://arxiv.org/abs/2205.01068"
    )
    bloom = {"hidden_size": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 250880}
    yield Entry("bigscience/bloom-560m", "bloom", bloom, "bigscience-bloom-rail-1.0", "ROOTS")
