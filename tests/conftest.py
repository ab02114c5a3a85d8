# SPDX-License-Identifier: Apache-2.0
import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # before anything imports TensorFlow
