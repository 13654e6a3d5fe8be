// On its own, outside of the `ops` namespace: see matmulOptions.ts.
/** Forms of the loss; without options it is -log softmax(logits)[label]. */
export type CrossEntropyOptions = {
  /**
   * Label smoothing e: (1 - e) of the loss and e times the mean of -log softmax(logits) over the
   * vocabulary. Default 0. Szegedy et al. 2015, https://arxiv.org/abs/1512.00567
   */
  readonly smoothing?: number;
  /** c > 0: logits are c tanh(logits / c), as in Gemma 2. Default 0: as they are. */
  readonly softcap?: number;
  /**
   * Dynamic fine-tuning: each loss times its probability exp(-loss), which is a constant to the
   * gradient. Default false. Wu et al. 2025, https://arxiv.org/abs/2508.05629
   */
  readonly dft?: boolean;
};
