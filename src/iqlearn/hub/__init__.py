"""Runs on the Hugging Face Hub: what of a run folder is published, its model card, and the way there and back."""

from iqlearn.hub.card import evaluation
from iqlearn.hub.client import pull, push
from iqlearn.hub.published import write

__all__ = ["evaluation", "pull", "push", "write"]
