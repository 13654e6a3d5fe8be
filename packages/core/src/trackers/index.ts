export { HtmlReportCallback } from './htmlReport.js';
export { JsonlCallback } from './jsonl.js';
export { MlflowCallback, type MlflowOptions } from './mlflow.js';
export { rewriteLogs } from './rewriteLogs.js';
export { TensorBoardCallback, type TensorBoardOptions } from './tensorBoard.js';
export { WandbCallback, type WandbOptions } from './wandb.js';
