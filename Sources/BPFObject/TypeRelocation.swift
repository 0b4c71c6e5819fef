import BPFISA
import BTF

/// An object's CO-RE relocations, by the function that they change.
struct TypeRelocations: Sendable {
  struct Entry: Sendable {
    let function: Int
    /// In the function.
    let slot: Int
    /// In its section's list, for messages.
    let number: Int
    let relocation: CORERelocation
  }

  /// In the order of `.BTF.ext`.
  private(set) var entries: [Entry] = []
  /// Places in `entries`: of all subprograms, and of each entry program.
  private var ofSubprograms: [Int] = []
  private var ofPrograms: [Int: [Int]] = [:]
  /// What is wrong with the list as such; the entries before it count.
  private(set) var error: LinkError?

  init(_ object: ObjectFile) {
    for section in object.extensions?.relocations ?? [] {
      guard !section.name.isEmpty else {
        error = LinkError(errno: LoaderErrno.invalid, message: "CO-RE relocations of a section without a name")
        return
      }
      guard let sectionIndex = object.sectionIndices[section.name] else { continue }
      for (number, relocation) in section.records.enumerated() {
        guard relocation.insnOffset % 8 == 0 else {
          error = LinkError(errno: LoaderErrno.invalid, message: "CO-RE relocation #\(number) lies inside an insn")
          return
        }
        let slot = Int(relocation.insnOffset / 8)
        // Relocations of weak functions that another definition replaced belong to nothing.
        guard let index = ObjectReader.function(in: object.functions, section: sectionIndex, slot: slot) else {
          continue
        }
        if object.functions[index].isSubprogram {
          ofSubprograms.append(entries.count)
        } else {
          ofPrograms[index, default: []].append(entries.count)
        }
        entries.append(
          Entry(
            function: index, slot: slot - object.functions[index].instructionOffset, number: number,
            relocation: relocation))
      }
    }
  }

  /// The relocations of all subprograms and of some programs, in order.
  func entries(for programs: [Int]) -> [Entry] {
    var places = ofSubprograms
    for program in programs { places += ofPrograms[program] ?? [] }
    return places.sorted().map { entries[$0] }
  }
}

extension Linker {
  /// Applies CO-RE relocations to the programs that are loaded and to every subprogram; answers the functions that
  /// changed. Others are as the compiler wrote them.
  ///
  /// libbpf relocates all of `.text` whether or not it is called, and so fails for what is not called too.
  func relocateTypes(_ loaded: [Int]) throws(LinkError) -> [Int: [Instruction]] {
    guard let local = object.btf, let kernel = linux.btf else { return [:] }
    let entries = typeRelocations.entries(for: loaded)
    var changed: [Int: [Instruction]] = [:]
    if !entries.isEmpty {
      var resolver = COREResolver(local: local, kernel: kernel)
      for entry in entries {
        var body = changed.removeValue(forKey: entry.function) ?? code(of: entry.function)
        do {
          try Linker.apply(entry.relocation, to: &body, at: entry.slot, &resolver)
        } catch {
          let name = object.functions[entry.function].name
          throw LinkError(errno: error.errno, message: "prog '\(name)': relo #\(entry.number): \(error.message)")
        }
        changed[entry.function] = body
      }
    }
    if let error = typeRelocations.error { throw error }
    return changed
  }

  private static func apply(
    _ relocation: CORERelocation, to body: inout [Instruction], at slot: Int, _ resolver: inout COREResolver
  ) throws(LinkError) {
    guard !body[slot].isLoadImmediate64 || slot + 1 < body.count else {
      throw LinkError(errno: LoaderErrno.invalid, message: "insn #\(slot) (LDIMM64) is truncated")
    }
    var first = COREInstruction(body[slot])
    var second = slot + 1 < body.count ? COREInstruction(body[slot + 1]) : nil
    do {
      let resolution = try resolver.resolve(relocation)
      try resolution.patch(&first, next: &second, index: slot)
    } catch {
      throw LinkError(errno: error.errno.rawValue, message: error.message)
    }
    let isWide = body[slot].isLoadImmediate64
    body[slot] = Instruction(first)
    if isWide, let second { body[slot + 1] = Instruction(second) }
  }
}

extension COREInstruction {
  fileprivate init(_ instruction: Instruction) {
    self.init(
      code: instruction.opcode, destination: UInt8(truncatingIfNeeded: instruction.dst),
      source: UInt8(truncatingIfNeeded: instruction.src), offset: instruction.offset,
      immediate: instruction.immediate)
  }
}

extension Instruction {
  fileprivate init(_ instruction: COREInstruction) {
    self.init(
      opcode: instruction.code, dst: instruction.destination, src: instruction.source, offset: instruction.offset,
      immediate: instruction.immediate)
  }
}
