# SPDX-License-Identifier: Apache-2.0
"""The claims about speed and memory, each one command, each a ratio within one run."""
