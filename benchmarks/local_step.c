// SPDX-License-Identifier: Apache-2.0
// Local steps of softmax regression with a proximal term, as a bound on what a compiler makes of plain loops: no
// framework, no intrinsics, one thread. The sizes (INPUTS, CLASSES, BATCH) are given by -D, so that it may unroll.
//
// A step is w <- w - rate (g + mu (w - anchor)) = (1 - rate mu) w + rate mu anchor - rate g. Class weights are rows,
// along which both passes over the batch run; the examples are read where they lie, and the gradient is never written.

#include <math.h>

static void logits_of(const float *restrict example, float w[CLASSES][INPUTS], const float *restrict b,
                      float *restrict out) {
  float sums[CLASSES] = {0};
  for (int k = 0; k < INPUTS; k++) {
#pragma GCC unroll 32
    for (int c = 0; c < CLASSES; c++) sums[c] += example[k] * w[c][k];
  }
  for (int c = 0; c < CLASSES; c++) out[c] = sums[c] + b[c];
}

// Turns logits into (softmax - one-hot) times `scale`.
static void error_of(float *restrict logits, int label, float scale) {
  float largest = logits[0], total = 0;
  for (int c = 1; c < CLASSES; c++) largest = logits[c] > largest ? logits[c] : largest;
  for (int c = 0; c < CLASSES; c++) total += logits[c] = expf(logits[c] - largest);
  for (int c = 0; c < CLASSES; c++) logits[c] *= scale / total;
  logits[label] -= scale;
}

// x [n][INPUTS], y [n], rows [steps][BATCH]; kernel [CLASSES][INPUTS] and bias [CLASSES] are updated.
void local_steps(const float *restrict x, const int *restrict y, const int *restrict rows, long steps, float rate,
                 float mu, float *restrict kernel, float *restrict bias) {
  static float w[CLASSES][INPUTS], anchor[CLASSES][INPUTS];
  float b[CLASSES], anchor_b[CLASSES];
  for (int c = 0; c < CLASSES; c++) {
    for (int k = 0; k < INPUTS; k++) w[c][k] = anchor[c][k] = kernel[c * INPUTS + k];
    b[c] = anchor_b[c] = bias[c];
  }
  const float keep = 1 - rate * mu, pull = rate * mu;
  for (long step = 0; step < steps; step++, rows += BATCH) {
    const float *example[BATCH];
    float error[BATCH][CLASSES];
    for (int i = 0; i < BATCH; i++) {
      example[i] = x + (long)rows[i] * INPUTS;
      logits_of(example[i], w, b, error[i]);
    }
    for (int i = 0; i < BATCH; i++) error_of(error[i], y[rows[i]], rate / BATCH);
    for (int c = 0; c < CLASSES; c++) {
      for (int k = 0; k < INPUTS; k++) {
        float next = keep * w[c][k] + pull * anchor[c][k];
        for (int i = 0; i < BATCH; i++) next -= error[i][c] * example[i][k];
        w[c][k] = next;
      }
      b[c] = keep * b[c] + pull * anchor_b[c];
      for (int i = 0; i < BATCH; i++) b[c] -= error[i][c];
    }
  }
  for (int c = 0; c < CLASSES; c++) {
    for (int k = 0; k < INPUTS; k++) kernel[c * INPUTS + k] = w[c][k];
    bias[c] = b[c];
  }
}
