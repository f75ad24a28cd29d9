"""Blueprints: all that is needed to build a network again, and to say so in JSON. There is one for each kind of network."""

from sklearn_ae._network.blueprint.ensemble import EnsembleBlueprint
from sklearn_ae._network.blueprint.novelty import NoveltyBlueprint
from sklearn_ae._network.blueprint.single import KINDS, Blueprint

__all__ = ["KINDS", "Blueprint", "EnsembleBlueprint", "NoveltyBlueprint"]
