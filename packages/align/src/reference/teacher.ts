import { AttuneError, inference, type LanguageModel } from '@attune/core';

/**
 * Whom a model learns from: 'base', the model itself with its adapters off, of which there is no
 * second copy; or another model of the same vocabulary on the same Attune.
 */
export type TeacherChoice = 'base' | LanguageModel;

/** A teacher, ready to be recorded. It is never trained. */
export class Teacher {
  private constructor(
    private readonly student: LanguageModel,
    private readonly choice: TeacherChoice,
  ) {}

  /** @throws TEACHER for a teacher that the student cannot have */
  static of(student: LanguageModel, choice: TeacherChoice): Teacher {
    const invalid = (what: string, remedy: string) => new AttuneError('TEACHER', what, { remedy });
    if (choice === 'base') {
      if (student.adapters) return new Teacher(student, choice);
      throw invalid(
        "teacher is 'base', the model with its adapters off, and the model has no adapters.",
        'Give another model as teacher, or load the adapter that is to be trained on.',
      );
    }
    if (typeof choice !== 'object' || choice === null || !('root' in choice))
      throw invalid(
        `teacher is ${JSON.stringify(choice)}.`,
        "Give a model that was loaded with the same `attune`, or 'base'.",
      );
    if (choice.root === student.root)
      throw invalid(
        'teacher is the model that is trained: nothing would be learned from it.',
        "Load the teacher's checkpoint beside it, or take teacher: 'base', its adapters off.",
      );
    if (choice.engine !== student.engine)
      throw invalid(
        'teacher lies on another Attune than the model.',
        'Load both with the same `attune`.',
      );
    if (choice.taskType !== 'CAUSAL_LM')
      throw invalid(
        `teacher is a model for the task "${choice.taskType}", which writes no text.`,
        'Load it with AutoModelForCausalLM.fromPretrained(path, { attune }).',
      );
    if (choice.config.vocabSize !== student.config.vocabSize)
      throw invalid(
        `teacher has a vocabulary of ${choice.config.vocabSize} tokens, the model of ${student.config.vocabSize}: their distributions cannot be compared.`,
        'Take a teacher that shares the tokenizer of the model.',
      );
    return new Teacher(student, choice);
  }

  /** For logs and fingerprints. */
  get kind(): 'base' | 'model' {
    return this.choice === 'base' ? 'base' : 'model';
  }

  /** Records `fn` with the teacher, without gradients, dropout and noise. */
  record<T>(fn: (teacher: LanguageModel) => T): T {
    return this.using((model) => inference(model, () => fn(model)));
  }

  /** Calls `fn`, which may wait, with the teacher. */
  using<T>(fn: (teacher: LanguageModel) => T): T {
    const { student, choice } = this;
    if (choice !== 'base') return fn(choice);
    return student.adapters!.withAdaptersDisabled(() => fn(student));
  }
}
