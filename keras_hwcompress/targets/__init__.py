"""Targets: the boards that a project can be generated for."""

from keras_hwcompress.targets.boards import BOARDS, Board, get_board

__all__ = ["BOARDS", "Board", "get_board"]
