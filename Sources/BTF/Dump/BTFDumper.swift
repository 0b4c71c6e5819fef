/// Prints types as C that compiles: definitions in an order that C accepts, each with what it needs before it.
///
/// A dumper remembers what it has printed, so that several types can be printed one after another into one file.
///
///     var dumper = BTFDumper(btf)
///     try dumper.dump(id)
///     print(dumper.text)
///
/// The layout of structs is kept by padding and `packed`; two types of one name get `___2`, `___3`, … appended.
/// Depth, work and length of the text are bounded; beyond that, and for types that contain themselves, `dump` throws.
public struct BTFDumper {
  public let btf: BTF
  /// Whether enumerations that are narrower or wider than C makes them are marked so.
  let marksEnumerationWidth: Bool
  let textLimit: Int

  enum Progress: UInt8 {
    case none
    case running
    case done
  }

  struct TypeState {
    var ordering = Progress.none
    var emission = Progress.none
    var hasForward = false
    var isNamed = false
    var isReferenced = false
    /// Byte alignment; nil until asked for.
    var alignment: Int32?
  }

  static let depthLimit = 200
  /// Length in bytes at which the text is given up.
  public static let defaultTextLimit = 1 << 25

  var output: [UInt8] = []
  var states: [TypeState]
  var typeNames: [String: Int] = [:]
  var identifiers: [String: Int] = [:]
  var renamed: [TypeID: String] = [:]
  var queue: [TypeID] = []
  var depth = 0
  private var budget = 1 << 25

  public init(_ btf: BTF, marksEnumerationWidth: Bool = true, textLimit: Int = BTFDumper.defaultTextLimit) {
    self.btf = btf
    self.textLimit = textLimit
    self.marksEnumerationWidth = marksEnumerationWidth
    states = Array(repeating: TypeState(), count: Int(btf.endID))
    states[0].ordering = .done
    states[0].emission = .done
    markReferenced()
  }

  /// What was printed so far.
  public var text: String { String(decoding: output, as: UTF8.self) }

  /// Prints a type's definition and, before it, the definitions that it needs.
  public mutating func dump(_ id: TypeID) throws(BTFError) {
    guard btf.isValid(id) else { throw failure(id, "type [\(id)] does not exist") }
    queue.removeAll(keepingCapacity: true)
    depth = 0
    _ = try order(id, throughPointer: false)
    for queued in queue {
      try emit(queued, container: 0)
    }
  }

  /// Prints a declaration of `name` with type `id`, as in a struct member or a prototype.
  public mutating func dumpDeclaration(_ id: TypeID, name: String) throws(BTFError) {
    depth = 0
    try declare(id, name, level: 0)
  }

  mutating func write(_ text: String) {
    output += text.utf8
  }

  mutating func indent(_ level: Int) {
    output.append(contentsOf: repeatElement(UInt8(ascii: "\t"), count: min(level, 13)))
  }

  func failure(_ id: TypeID, _ what: String) -> BTFError {
    BTFError(origin: btf.origin, offset: btf.locate(id)?.offset ?? 0, rule: .malformed(what))
  }

  /// Counts one step of a walk over type `id`.
  mutating func step(_ id: TypeID) throws(BTFError) {
    budget -= 1
    guard budget > 0, depth < BTFDumper.depthLimit, output.count < textLimit, Int(id) < states.count else {
      throw failure(id, "type [\(id)] is nested too deeply")
    }
  }

  private mutating func refer(_ id: TypeID) {
    guard Int(id) < states.count else { return }
    states[Int(id)].isReferenced = true
  }

  /// Nameless enumerations that nothing refers to are definitions of constants and are printed for themselves.
  private mutating func markReferenced() {
    for id in 1..<max(btf.endID, 1) {
      let type = btf.type(id)
      switch type.kind {
      case .void, .int, .enumeration, .enum64, .forward, .float:
        break
      case .volatile, .const, .restrict, .pointer, .typedef, .function, .variable, .declTag, .typeTag:
        refer(type.target)
      case .array:
        let array = btf.array(id)
        refer(array.indexTypeID)
        refer(array.elementTypeID)
      case .structure, .union:
        for member in btf.members(id) { refer(member.typeID) }
      case .functionPrototype:
        for parameter in btf.parameters(id) { refer(parameter.typeID) }
      case .dataSection:
        for variable in btf.variables(id) { refer(variable.typeID) }
      }
    }
  }

  // MARK: Order

  /// Queues the definitions that `id` needs. Returns whether the link is strong: whether the type must be defined,
  /// not just declared, before what refers to it.
  private mutating func order(_ id: TypeID, throughPointer: Bool) throws(BTFError) -> Bool {
    try step(id)
    depth += 1
    defer { depth -= 1 }
    let place = Int(id)
    if states[place].ordering == .done { return true }
    let type = btf.type(id)
    let isNamed = type.nameOffset != 0
    if states[place].ordering == .running {
      if type.kind.isComposite && throughPointer && isNamed { return false }
      throw failure(id, "unsatisfiable type cycle, id:[\(id)]")
    }
    switch type.kind {
    case .int, .float:
      states[place].ordering = .done
      return false
    case .pointer:
      let isStrong = try order(type.target, throughPointer: true)
      states[place].ordering = .done
      return isStrong
    case .array:
      return try order(btf.array(id).elementTypeID, throughPointer: false)
    case .structure, .union:
      if throughPointer && isNamed { return false }
      states[place].ordering = .running
      for member in btf.members(id) {
        _ = try order(member.typeID, throughPointer: false)
      }
      if isNamed { queue.append(id) }
      states[place].ordering = .done
      return true
    case .enumeration, .enum64, .forward:
      if isNamed || !states[place].isReferenced { queue.append(id) }
      states[place].ordering = .done
      return true
    case .typedef:
      let isStrong = try order(type.target, throughPointer: throughPointer)
      if throughPointer && !isStrong { return false }
      queue.append(id)
      states[place].ordering = .done
      return true
    case .volatile, .const, .restrict, .typeTag:
      return try order(type.target, throughPointer: throughPointer)
    case .functionPrototype:
      var isStrong = try order(type.target, throughPointer: throughPointer)
      for parameter in btf.parameters(id) {
        if try order(parameter.typeID, throughPointer: throughPointer) { isStrong = true }
      }
      return isStrong
    case .function, .variable, .dataSection, .declTag:
      states[place].ordering = .done
      return false
    case .void:
      throw failure(id, "type [\(id)] has no kind")
    }
  }

  // MARK: Emission

  /// Prints `id` if it stands at the top (`container` is 0), otherwise what must be declared before it can be
  /// mentioned inside `container`.
  private mutating func emit(_ id: TypeID, container: TypeID) throws(BTFError) {
    try step(id)
    depth += 1
    defer { depth -= 1 }
    let place = Int(id)
    if states[place].emission == .done { return }
    let type = btf.type(id)
    if states[place].emission == .running {
      emitForward(of: type, container: container)
      return
    }
    let isTop = container == 0
    switch type.kind {
    case .int:
      emitAlias(of: type)
      states[place].emission = .done
    case .enumeration, .enum64:
      if isTop {
        define(enumeration: type, level: 0)
        write(";\n\n")
      }
      states[place].emission = .done
    case .pointer, .volatile, .const, .restrict, .typeTag:
      try emit(type.target, container: container)
    case .array:
      try emit(btf.array(id).elementTypeID, container: container)
    case .forward:
      writeForward(type)
      write(";\n\n")
      states[place].emission = .done
    case .typedef:
      states[place].emission = .running
      try emit(type.target, container: id)
      if !states[place].hasForward && !isBuiltIn(type) {
        try define(typedef: type)
        write(";\n\n")
      }
      states[place].emission = .done
    case .structure, .union:
      try emit(composite: type, container: container)
    case .functionPrototype:
      try emit(type.target, container: container)
      for parameter in btf.parameters(id) {
        try emit(parameter.typeID, container: container)
      }
    case .void, .function, .variable, .dataSection, .float, .declTag:
      break
    }
  }

  private mutating func emit(composite type: BTFType, container: TypeID) throws(BTFError) {
    let place = Int(type.id)
    let isTop = container == 0
    states[place].emission = .running
    if isTop || type.nameOffset == 0 {
      let inner = type.nameOffset == 0 ? container : type.id
      for member in btf.members(type.id) {
        try emit(member.typeID, container: inner)
      }
    } else if !states[place].hasForward && type.id != container {
      writeReference(type)
      write(";\n\n")
      states[place].hasForward = true
    }
    guard isTop else {
      states[place].emission = .none
      return
    }
    try define(composite: type, level: 0)
    write(";\n\n")
    states[place].emission = .done
  }

  /// A type that is being defined is mentioned again: structs are declared first, typedefs are defined early.
  private mutating func emitForward(of type: BTFType, container: TypeID) {
    let place = Int(type.id)
    guard !states[place].hasForward else { return }
    switch type.kind {
    case .structure, .union:
      guard type.id != container, type.nameOffset != 0 else { return }
      writeReference(type)
      write(";\n\n")
      states[place].hasForward = true
    case .typedef:
      if !isBuiltIn(type) {
        do {
          try define(typedef: type)
        } catch {
          return
        }
        write(";\n\n")
      }
      states[place].hasForward = true
    default:
      break
    }
  }

  /// Compilers define this one themselves.
  private func isBuiltIn(_ type: BTFType) -> Bool {
    type.nameOffset != 0 && btf.stringEquals(type.nameOffset, "__builtin_va_list")
  }

  /// Arm's vector types, which GCC names and clang does not know.
  private mutating func emitAlias(of type: BTFType) {
    let name = typeName(type)
    let meaning: String
    switch name {
    case "__Poly8_t": meaning = "unsigned char"
    case "__Poly16_t": meaning = "unsigned short"
    case "__Poly64_t": meaning = "unsigned long long"
    case "__Poly128_t": meaning = "unsigned __int128"
    default: return
    }
    write("typedef \(meaning) \(name);\n\n")
  }

  // MARK: Names

  /// The name of a struct, union or enumeration, numbered if it was taken.
  mutating func typeName(_ type: BTFType) -> String { uniqueName(type, in: \.typeNames) }

  /// The name of a typedef, numbered if it was taken by one or by an enumerator.
  mutating func identifier(_ type: BTFType) -> String { uniqueName(type, in: \.identifiers) }

  private mutating func uniqueName(_ type: BTFType, in names: WritableKeyPath<BTFDumper, [String: Int]>) -> String {
    guard type.nameOffset != 0 else { return "" }
    let place = Int(type.id)
    if states[place].isNamed { return renamed[type.id] ?? btf.string(type.nameOffset) }
    states[place].isNamed = true
    let name = btf.string(type.nameOffset)
    if type.kind == .forward || (type.kind == .enumeration && type.vlen == 0) { return name }
    let count = countUse(of: name, in: names)
    guard count > 1 else { return name }
    let numbered = "\(name)___\(count)"
    renamed[type.id] = numbered
    return numbered
  }

  mutating func countUse(of name: String, in names: WritableKeyPath<BTFDumper, [String: Int]>) -> Int {
    self[keyPath: names][name, default: 0] += 1
    return self[keyPath: names][name] ?? 1
  }

  // MARK: Alignment

  /// Byte alignment of a type as a C compiler would lay it out; 0 if it has none.
  mutating func alignment(_ id: TypeID) -> Int {
    alignment(id, depth: 0)
  }

  private mutating func alignment(_ id: TypeID, depth: Int) -> Int {
    guard Int(id) < states.count, depth < BTFDumper.depthLimit else { return 0 }
    if let known = states[Int(id)].alignment { return Int(known) }
    let type = btf.type(id)
    let result: Int
    switch type.kind {
    case .int, .enumeration, .enum64, .float:
      result = min(8, Int(type.size))
    case .pointer:
      result = 8
    case .typedef, .volatile, .const, .restrict, .typeTag:
      result = alignment(type.target, depth: depth + 1)
    case .array:
      result = alignment(btf.array(id).elementTypeID, depth: depth + 1)
    case .structure, .union:
      result = compositeAlignment(type, depth: depth)
    case .void, .forward, .function, .functionPrototype, .variable, .dataSection, .declTag:
      result = 0
    }
    states[Int(id)].alignment = Int32(truncatingIfNeeded: result)
    return result
  }

  private mutating func compositeAlignment(_ type: BTFType, depth: Int) -> Int {
    var largest = 1
    for member in btf.members(type.id) {
      let own = alignment(member.typeID, depth: depth + 1)
      guard own > 0 else { return own }
      largest = max(largest, own)
      if member.bitfieldSize == 0 && Int(member.bitOffset) % (8 * own) != 0 { return 1 }
    }
    return Int(type.size) % largest == 0 ? largest : 1
  }

  /// Whether only `packed` gives the struct its layout.
  mutating func isPacked(_ type: BTFType) -> Bool {
    var largest = 1
    for member in btf.members(type.id) {
      let own = alignment(member.typeID)
      if own > 0 && member.bitfieldSize == 0 && Int(member.bitOffset) % (8 * own) != 0 { return true }
      largest = max(largest, own)
    }
    return Int(type.size) % largest != 0
  }
}
