import { AttuneError, inference, type LanguageModel } from '@attune/core';
import { checkOther } from './otherModel.js';

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
    if (choice === 'base') {
      if (student.adapters) return new Teacher(student, choice);
      throw new AttuneError(
        'TEACHER',
        "teacher is 'base', the model with its adapters off, and the model has no adapters.",
        { remedy: 'Give another model as teacher, or load the adapter that is to be trained on.' },
      );
    }
    checkOther(student, choice, {
      code: 'TEACHER',
      name: 'teacher',
      words: ["'base'"],
      itself: {
        why: 'nothing would be learned from it',
        remedy:
          "Load the teacher's checkpoint beside it, or take teacher: 'base', its adapters off.",
      },
    });
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
