import BPFLinux
import BTF

/// The types and functions that a case's header declares, on their way into BTF.
///
///     struct: bpf_spin_lock { u32 val; }
///     struct: value { int count; struct bpf_spin_lock lock; u64 rest[2]; }
///     func: main static int (ptr ctx)
///     func: check global int (struct value* it, int index)
///
/// Types are `void`, `char`, `int`, `long`, `u8` to `u64`, `ptr` (`void *`), structs declared above, and any of them
/// with `*` behind. Members lie where C puts them. Tags stand where C has them, or, with a colon in them,
/// behind a name:
///
///     struct: task_struct { }
///     struct: held { struct task_struct __kptr* task; struct bpf_list_head head contains:node:link; }
///     func: main static int (ptr ctx) exception_callback:caught
///     func: look global int (struct task_struct* task arg:trusted arg:nullable)
struct GoldenTypes {
  struct Built {
    let btf: BTF
    let structs: [String: TypeID]
    let functions: [FunctionInfo]
    let lines: [LineInfo]
    let keys: [UInt32: TypeID]

    func key(size: UInt32) -> TypeID { keys[size] ?? 0 }
  }

  private var builder = BTFBuilder()
  private var scalars: [String: (id: TypeID, size: UInt32)] = [:]
  private var pointers: [String: TypeID] = [:]
  private var structs: [String: (id: TypeID, size: UInt32, alignment: UInt32)] = [:]
  private var functions: [(label: String, id: TypeID)] = []

  private static let integers: [String: (size: UInt32, isSigned: Bool, isChar: Bool)] = [
    "char": (1, true, true), "int": (4, true, false), "long": (8, true, false), "u8": (1, false, false),
    "u16": (2, false, false), "u32": (4, false, false), "u64": (8, false, false),
  ]

  private mutating func type(_ words: [Substring]) -> (id: TypeID, size: UInt32, alignment: UInt32)? {
    let name = words.joined(separator: " ")
    if name == "void" { return (0, 0, 1) }
    if name == "ptr" { return type(["void*"]) }
    if name.hasSuffix("*") {
      if let known = pointers[name] { return (known, 8, 8) }
      var target = name.dropLast().split(separator: " ")
      let tag = target.last.flatMap { $0.hasPrefix("__") ? String($0.dropFirst(2)) : nil }
      if tag != nil { target.removeLast() }
      guard let pointee = type(target) else { return nil }
      let id = builder.addPointer(to: tag.map { builder.addTypeTag($0, pointee.id) } ?? pointee.id)
      pointers[name] = id
      return (id, 8, 8)
    }
    if words.first == "struct", words.count == 2 { return structs[String(words[1])] }
    guard words.count == 1, let integer = Self.integers[name] else { return nil }
    if let known = scalars[name] { return (known.id, known.size, known.size) }
    let id = builder.addInt(name, size: integer.size, isSigned: integer.isSigned, isChar: integer.isChar)
    scalars[name] = (id, integer.size)
    return (id, integer.size, integer.size)
  }

  /// `NAME { TYPE FIELD; … }`; false where the text is not that.
  mutating func addStruct(_ text: String) -> Bool {
    guard let open = text.firstIndex(of: "{"), let close = text.lastIndex(of: "}"), open < close else { return false }
    let name = text[..<open].filter { $0 != " " }
    var members: [BTFBuilder.Member] = []
    var tags: [(text: String, member: Int32)] = []
    var size: UInt32 = 0
    var alignment: UInt32 = 1
    for field in text[text.index(after: open)..<close].split(separator: ";") {
      let (words, fieldTags) = Self.tagged(field)
      tags += fieldTags.map { ($0, Int32(truncatingIfNeeded: members.count)) }
      guard words.count >= 2, var declared = type(Array(words.dropLast())) else {
        if words.isEmpty { continue }
        return false
      }
      var fieldName = words[words.count - 1]
      if let bracket = fieldName.firstIndex(of: "[") {
        guard let count = UInt32(fieldName[bracket...].dropFirst().dropLast()), count < 1 << 16,
          let index = type(["u32"])
        else { return false }
        declared.id = builder.addArray(of: declared.id, index: index.id, count: count)
        declared.size *= count
        fieldName = fieldName[..<bracket]
      }
      size = (size + declared.alignment - 1) / declared.alignment * declared.alignment
      members.append(.init(String(fieldName), declared.id, bitOffset: size * 8))
      size += declared.size
      alignment = max(alignment, declared.alignment)
    }
    size = (size + alignment - 1) / alignment * alignment
    let id = builder.addStruct(name, size: size, members: members)
    for tag in tags { builder.addDeclTag(tag.text, id, component: tag.member) }
    structs[name] = (id, size, alignment)
    return true
  }

  /// The words of a declaration, and the tags among them.
  private static func tagged(_ text: Substring) -> (words: [Substring], tags: [String]) {
    let words = text.split(separator: " ")
    return (words.filter { !$0.contains(":") }, words.filter { $0.contains(":") }.map(String.init))
  }

  /// The type that `typeid_NAME` stands for in a program.
  func id(ofStruct name: String) -> TypeID? { structs[name]?.id }

  /// `LABEL static|global TYPE (TYPE NAME, …)`; false where the text is not that.
  mutating func addFunction(_ text: String) -> Bool {
    guard let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")"), open < close else { return false }
    let words = text[..<open].split(separator: " ")
    guard words.count >= 3, words[1] == "static" || words[1] == "global", let result = type(Array(words.dropFirst(2)))
    else { return false }
    var parameters: [(name: String, typeID: TypeID)] = []
    var tags = Self.tagged(text[text.index(after: close)...]).tags.map { (text: $0, parameter: Int32(-1)) }
    for parameter in text[text.index(after: open)..<close].split(separator: ",") {
      let (words, parameterTags) = Self.tagged(parameter)
      tags += parameterTags.map { ($0, Int32(truncatingIfNeeded: parameters.count)) }
      guard words.count >= 2, let declared = type(Array(words.dropLast())) else { return false }
      parameters.append((String(words[words.count - 1]), declared.id))
    }
    let prototype = builder.addFunctionPrototype(returning: result.id, parameters)
    let label = String(words[0])
    let id = builder.addFunction(label, prototype: prototype, linkage: words[1] == "global" ? 1 : 0)
    for tag in tags { builder.addDeclTag(tag.text, id, component: tag.parameter) }
    functions.append((label, id))
    return true
  }

  /// The BTF, and what refers to it; nil where nothing was declared. The first function is the program itself,
  /// whether or not it has a label.
  func build(labels: [String: Int], sources: [(slot: Int, text: String)], instructionCount: Int) -> Built? {
    guard !structs.isEmpty || !functions.isEmpty else { return nil }
    var builder = builder
    var keys: [UInt32: TypeID] = [4: builder.addInt("key", size: 4)]
    keys[8] = builder.addInt("long_key", size: 8)
    var lines: [LineInfo] = []
    if !sources.isEmpty {
      let file = builder.addString("golden.bpf.c")
      for (index, source) in sources.enumerated() where source.slot < instructionCount {
        lines.append(
          LineInfo(
            instructionOffset: UInt32(truncatingIfNeeded: source.slot), fileNameOffset: file,
            lineOffset: builder.addString(source.text), lineColumn: UInt32(truncatingIfNeeded: (index + 1) << 10)))
      }
    }
    guard let btf = try? builder.build(origin: "golden case") else { return nil }
    let records = functions.enumerated().map { index, function in
      FunctionInfo(
        instructionOffset: UInt32(truncatingIfNeeded: index == 0 ? 0 : labels[function.label] ?? 0),
        typeID: function.id)
    }
    return Built(
      btf: btf, structs: structs.mapValues(\.id),
      functions: records.sorted { $0.instructionOffset < $1.instructionOffset }, lines: lines, keys: keys)
  }
}
