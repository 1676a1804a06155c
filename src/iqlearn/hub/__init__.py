"""Runs on the Hugging Face Hub: the published part of a run folder, its model card, upload and download."""

from iqlearn.hub.card import evaluation
from iqlearn.hub.client import pull, push
from iqlearn.hub.published import write

__all__ = ["evaluation", "pull", "push", "write"]
