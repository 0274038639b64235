# SPDX-License-Identifier: Apache-2.0
"""Sets of pictures with labels and depth: folders on disk, in the layout that training and evaluation share."""

from host.datasets.folder import Folder, FolderError, open_folder

__all__ = ["Folder", "FolderError", "open_folder"]
