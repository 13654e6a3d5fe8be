import type { Kernel } from '../kernel.js';
import { attentionKernel } from './forward.js';
import { attentionGradKernel } from './gradient.js';

/**
 * Attention without a [T, T] buffer: the softmax is taken online while the keys go by
 * (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135).
 *
 * One lane owns one query (or one key, in the backward pass to keys and values); the lanes of a
 * workgroup share a head, so that they want the same keys at the same time. Where the call allows
 * float16 and the device has a matrix unit, a workgroup owns a block of them instead.
 */
export const attentionKernels: readonly Kernel[] = [attentionKernel, attentionGradKernel];
