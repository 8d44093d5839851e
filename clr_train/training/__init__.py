"""The parts of a training run.

==============  =============================================================================
gradient_cache  gradients of a large batch, computed in pieces
optimizer       AdamW and the schedule of its learning rate
resume          `TrainingRun`: the state that a checkpoint saves and restores
checkpoint      the files of checkpoints
pretrained      a trained encoder, loaded from a checkpoint
validation      loss and probes on the validation split, final probes on the test split
recorder        decides which steps are evaluated and saved
step_bar        the progress bar
images          pictures of what was learned so far
run_folder      the folder of a run: metrics and other logs
trackers        TensorBoard and Weights & Biases
dry_run         the description that ``clr-train --dry-run`` prints
==============  =============================================================================
"""
