/// What a CO-RE relocation comes to on a target.
public struct COREResolution: Sendable, Equatable {
  /// What the compiler must have put into the instruction.
  public var originalValue: UInt64 = 0
  /// What the target needs there.
  public var newValue: UInt64 = 0
  /// The target lacks what was asked for: the instruction becomes an invalid call.
  public var isPoisoned = false
  /// Whether the instruction must hold `originalValue`.
  public var validates = true
  /// A load or store of the field would need another width and sign extension does not allow it.
  public var failsMemorySizeAdjustment = false
  /// Byte size of the field, for the width of a load or store; 0 if not applicable.
  public var originalSize: UInt32 = 0
  public var newSize: UInt32 = 0
  public var originalTypeID: TypeID = 0
  public var newTypeID: TypeID = 0
}

/// Resolves the CO-RE relocations of one object against a kernel.
///
/// One resolver serves one load: candidates that did not fit an earlier relocation of the same type are not
/// considered again, as in libbpf. The kernel's types come first; modules are asked only for types that the kernel
/// does not have.
public struct COREResolver {
  public let local: BTF
  public let kernel: BTF
  /// Type information of modules, each based on `kernel`.
  public let modules: [BTF]

  private struct Candidate {
    let btf: BTF
    let id: TypeID
  }

  private var candidates: [TypeID: [Candidate]] = [:]

  public init(local: BTF, kernel: BTF, modules: [BTF] = []) {
    self.local = local
    self.kernel = kernel
    self.modules = modules
  }

  /// What `relocation` means in the object's own types, for messages; nil if it is malformed.
  public func describe(_ relocation: CORERelocation) -> String? {
    do {
      return try CORESpec(relocation, kind: relocation.kind, local: local).description
    } catch {
      return nil
    }
  }

  public mutating func resolve(_ relocation: CORERelocation) throws(COREError) -> COREResolution {
    let type = local.type(relocation.typeID)
    guard local.isValid(relocation.typeID) else { throw COREError(errno: .invalid, message: "unknown local type") }
    let found = try findCandidates(relocation, type)

    let wanted: CORESpec
    do {
      wanted = try CORESpec(relocation, kind: relocation.kind, local: local)
    } catch {
      let name = local.name(type.id)
      throw COREError(
        errno: .invalid,
        message: "parsing [\(type.id)] \(type.kind.libbpfName) \(name.isEmpty ? "<anon>" : name)"
          + " + \(relocation.accessString) failed: -\(error.errno.rawValue)")
    }
    if wanted.kind == .typeIDLocal {
      var result = COREResolution()
      result.validates = false
      result.originalValue = UInt64(wanted.rootTypeID)
      result.newValue = UInt64(wanted.rootTypeID)
      return result
    }

    var chosen: (spec: CORESpec, result: COREResolution)?
    var kept: [Candidate] = []
    for (index, candidate) in found.enumerated() {
      var matcher = COREMatcher(local: local, target: candidate.btf)
      let match: CORESpec?
      do {
        match = try matcher.match(wanted, candidate: candidate.id)
      } catch {
        let spec = CORESpec(btf: candidate.btf, rootTypeID: candidate.id, kind: wanted.kind)
        throw COREError(
          errno: error.errno, message: "error matching candidate #\(index) \(spec): -\(error.errno.rawValue)")
      }
      guard let match else { continue }
      let result = try calculate(relocation, wanted, match)
      if let chosen {
        guard match.bitOffset == chosen.spec.bitOffset else {
          throw COREError(
            errno: .invalid,
            message: "field offset ambiguity: \(match.bitOffset) != \(chosen.spec.bitOffset)")
        }
        guard result.isPoisoned == chosen.result.isPoisoned, result.newValue == chosen.result.newValue else {
          throw COREError(
            errno: .invalid,
            message: "relocation decision ambiguity: \(result.decision) \(result.newValue)"
              + " != \(chosen.result.decision) \(chosen.result.newValue)")
        }
      } else {
        chosen = (match, result)
      }
      kept.append(candidate)
    }
    if let chosen {
      candidates[relocation.typeID] = kept
      return chosen.result
    }
    return try calculate(relocation, wanted, nil)
  }

  private mutating func findCandidates(_ relocation: CORERelocation, _ type: BTFType) throws(COREError) -> [Candidate] {
    guard relocation.kind != .typeIDLocal else { return [] }
    if let known = candidates[type.id] { return known }
    guard !local.isEmptyString(type.nameOffset) else {
      throw COREError(
        errno: .invalid,
        message: "target candidate search failed for [\(type.id)] \(type.kind.libbpfName) : -22")
    }
    let name = local.essentialName(type.nameOffset)
    var found = kernel.flavours(of: name, kind: type.kind, from: 1).map { Candidate(btf: kernel, id: $0) }
    if found.isEmpty {
      for module in modules {
        found += module.flavours(of: name, kind: type.kind, from: kernel.endID).map { Candidate(btf: module, id: $0) }
      }
    }
    candidates[type.id] = found
    return found
  }

  private func calculate(
    _ relocation: CORERelocation, _ wanted: CORESpec, _ match: CORESpec?
  ) throws(COREError) -> COREResolution {
    do {
      return try COREValue.resolution(wanted, match)
    } catch {
      switch error {
      case .tooWideBitfield:
        throw COREError(
          errno: .tooBig,
          message: "relo \(relocation.rawKind) at insn #\(relocation.insnOffset / 8) can't be satisfied for bitfield")
      case .arrayAccess:
        throw COREError(
          errno: .invalid,
          message: "relo \(relocation.rawKind) at insn #\(relocation.insnOffset / 8) can't be applied to array access")
      case .noSize:
        throw COREError(errno: .invalid, message: "size of a type is not known")
      }
    }
  }
}

extension COREResolution {
  fileprivate var decision: String { isPoisoned ? "failure" : "success" }
}

extension COREResolver {
  /// Whether two types of matching names are compatible, as libbpf asks of typed kernel symbols.
  public static func areTypesCompatible(
    local: BTF, _ localID: TypeID, target: BTF, _ targetID: TypeID
  ) throws(COREError) -> Bool {
    var matcher = COREMatcher(local: local, target: target)
    do {
      return try matcher.areTypesCompatible(localID, targetID)
    } catch {
      throw COREError(errno: error.errno, message: "types nest too deeply")
    }
  }
}
