from .config import EvalConfig
from .embedding.features import embed, embed_to_file
from .report.report import evaluate

__all__ = ["EvalConfig", "embed", "embed_to_file", "evaluate"]
