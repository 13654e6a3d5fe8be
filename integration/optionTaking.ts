import ts from 'typescript';

/**
 * The calls of these exports that take options, as "createAttune", "new Trainer", "Trainer#train",
 * "PeftModel.fromPretrained": a parameter of a type called ...Options, or one that is called
 * options.
 */
export function optionTaking(checker: ts.TypeChecker, exported: Iterable<ts.Symbol>): Set<string> {
  const found = new Set<string>();
  const look = (label: string, type: ts.Type, construct = false) => {
    const signatures = construct ? type.getConstructSignatures() : type.getCallSignatures();
    if (signatures.some((signature) => signature.parameters.some(isOptions))) found.add(label);
  };
  const isOptions = (parameter: ts.Symbol): boolean => {
    const at = parameter.valueDeclaration;
    if (!at) return false;
    const type = checker.getNonNullableType(checker.getTypeOfSymbolAtLocation(parameter, at));
    if ((type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) === 0) return false;
    const named = type.aliasSymbol?.name ?? type.symbol?.name ?? '';
    return /Options$/.test(named) || parameter.name === 'options';
  };
  for (const symbol of exported) {
    const at = symbol.valueDeclaration;
    if (!at || at.getSourceFile().fileName.includes('node_modules')) continue;
    const type = checker.getTypeOfSymbolAtLocation(symbol, at);
    look(symbol.name, type);
    if (!ts.isClassDeclaration(at)) {
      // `AutoModelForCausalLM.fromPretrained`: an object with calls.
      if (ts.isVariableDeclaration(at) && /^[A-Z][a-z]/.test(symbol.name))
        for (const member of type.getProperties())
          look(`${symbol.name}.${member.name}`, checker.getTypeOfSymbolAtLocation(member, at));
      continue;
    }
    look(`new ${symbol.name}`, type, true);
    const statics = type.getProperties().map((member) => ({ member, mark: '.' }));
    const own = checker.getDeclaredTypeOfSymbol(symbol).getProperties();
    for (const { member, mark } of [...statics, ...own.map((member) => ({ member, mark: '#' }))]) {
      const declared = member.valueDeclaration;
      if (!declared || !ts.isMethodDeclaration(declared)) continue;
      const { Private, Protected } = ts.ModifierFlags;
      if (ts.isPrivateIdentifier(declared.name)) continue;
      if (ts.getCombinedModifierFlags(declared) & (Private | Protected)) continue;
      // By the class that has it: what inherits it checks with it.
      const owner = (declared.parent as ts.ClassDeclaration).name?.text ?? symbol.name;
      look(`${owner}${mark}${member.name}`, checker.getTypeOfSymbolAtLocation(member, declared));
    }
  }
  return found;
}
