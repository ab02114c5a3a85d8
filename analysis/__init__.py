# SPDX-License-Identifier: Apache-2.0
"""What runs measured, as tables and figures. Reads results only: nothing here imports TensorFlow."""
