import BPFISA
import BPFLinux

/// `InstructionFacts.aluState`: what the rewriting must do so that speculation stays in bounds.
enum ALUState {
  static let sanitizeSource: UInt8 = 1 << 0
  static let sanitizeDestination: UInt8 = 1 << 1
  static let negativeValue: UInt8 = 1 << 2
  static let nonPointer: UInt8 = 1 << 3
  static let immediate: UInt8 = 1 << 4
}

/// Why pointer arithmetic cannot be kept in bounds under speculation.
enum SanitationFailure {
  case mixedBounds
  case pointerType
  case differentPaths
  case beyondBounds
  case tooManyPaths
}

/// What the first look at pointer arithmetic found, for the second.
struct SanitationWindow {
  var aluState: UInt8 = 0
  var aluLimit: UInt32 = 0
  var masksToLeft = false
}

/// Unprivileged programs: arithmetic on pointers must stay in bounds even where the processor guesses a branch wrong.
extension Verification {
  /// The instruction is reached by the program itself, not by speculation alone.
  @inline(__always) func sanitizeMarkSeen() {
    if !state.pointee.speculative { facts[instruction].seen = pass }
  }

  @inline(__always) func canSkipSanitation(_ insn: Instruction) -> Bool {
    bypassSpectreV1 || insn.operandSource == Source.k || fact.pointee.noSpeculation
  }

  /// Explores `next` as if the processor got there by guessing; the operands of `insn` may then be anything.
  func exploreSpeculatively(_ insn: Instruction?, to next: Int, from at: Int) -> StateRef? {
    guard let branch = pushPath(to: next, from: at, speculative: true) else { return nil }
    if let insn {
      let registers = branch.current.pointee.registers
      markUnknown(in: registers, insn.dst)
      if insn.operandSource == Source.x { markUnknown(in: registers, insn.src) }
    }
    return branch
  }

  func sanitizeScalar(_ insn: Instruction) throws(Refusal) {
    if canSkipSanitation(insn) { return }
    if !noteSanitation(ALUState.nonPointer, 0) {
      throw sanitationRefusal(insn, .differentPaths, offsetIsTarget: true)
    }
  }

  private func noteSanitation(_ aluState: UInt8, _ limit: UInt32) -> Bool {
    let fact = self.fact
    if fact.pointee.aluState != 0 && (fact.pointee.aluState != aluState || fact.pointee.aluLimit != limit) {
      return false
    }
    fact.pointee.aluState = aluState
    fact.pointee.aluLimit = limit
    return true
  }

  private func pointerLimit(_ pointer: RegisterRef, masksToLeft: Bool) -> Result<UInt32, SanitationFailureError> {
    let maximum: UInt32
    let limit: UInt32
    switch pointer.pointee.type {
    case .stack:
      maximum = UInt32(maximumStackSize) + (masksToLeft ? 1 : 0)
      limit = UInt32(
        truncatingIfNeeded: 0 &- (Int64(bitPattern: pointer.pointee.bits.value) &+ Int64(pointer.pointee.offset)))
    case .mapValue:
      maximum = maps[pointer.pointee.map].definition.valueSize
      let variable = masksToLeft ? pointer.pointee.smin : Int64(bitPattern: pointer.pointee.umax)
      limit = UInt32(truncatingIfNeeded: variable &+ Int64(pointer.pointee.offset))
    default:
      return .failure(SanitationFailureError(reason: .pointerType))
    }
    return limit >= maximum ? .failure(SanitationFailureError(reason: .beyondBounds)) : .success(limit)
  }

  struct SanitationFailureError: Error {
    let reason: SanitationFailure
  }

  /// Notes how the arithmetic must be limited, before (`commit` false) and after the result is known.
  func sanitizePointer(
    _ insn: Instruction, pointer: RegisterRef, offset: RegisterRef, target: RegisterRef,
    window: inout SanitationWindow, commit: Bool
  ) -> SanitationFailure? {
    if canSkipSanitation(insn) { return nil }
    let offsetIsConstant = offset.pointee.bits.isConstant
    let offsetIsNegative = offset.pointee.smin < 0
    let pointerIsTarget = pointer == target
    if !state.pointee.speculative {
      if !commit {
        if !offsetIsConstant && (offset.pointee.smin < 0) != (offset.pointee.smax < 0) { return .mixedBounds }
        window.masksToLeft =
          insn.operation == ALU.add ? offsetIsNegative : insn.operation == ALU.sub && !offsetIsNegative
      }
      let limit: UInt32
      switch pointerLimit(pointer, masksToLeft: window.masksToLeft) {
      case .success(let found): limit = found
      case .failure(let error): return error.reason
      }
      if commit {
        let difference = Int32(bitPattern: window.aluLimit &- limit)
        let magnitude = UInt32(bitPattern: difference < 0 ? 0 &- difference : difference)
        if !noteSanitation(window.aluState, magnitude) { return .differentPaths }
      } else {
        window.aluState =
          (offsetIsNegative ? ALUState.negativeValue : 0) | (offsetIsConstant ? ALUState.immediate : 0)
          | (pointerIsTarget ? ALUState.sanitizeSource : ALUState.sanitizeDestination)
        window.aluLimit = limit
        if !offsetIsConstant { exploreALULimits = true }
      }
    }
    if commit || offsetIsConstant { return nil }
    // The path that the masked arithmetic takes under speculation: the pointer unchanged.
    let saved = target.pointee
    if !pointerIsTarget { target.pointee = pointer.pointee }
    let branch = exploreSpeculatively(nil, to: instruction + 1, from: instruction)
    if !pointerIsTarget && branch != nil { target.pointee = saved }
    return branch == nil ? .tooManyPaths : nil
  }

  func sanitationRefusal(_ insn: Instruction, _ reason: SanitationFailure, offsetIsTarget: Bool) -> Refusal {
    let why = "pointer arithmetic with it prohibited for !root"
    let verb = insn.operation == ALU.add ? "add" : "sub"
    switch reason {
    case .mixedBounds:
      return refuse(
        .EACCES, .speculation,
        "R\(offsetIsTarget ? insn.dst : insn.src) has unknown scalar with mixed signed bounds, \(why)\n")
    case .pointerType:
      return refuse(
        .EACCES, .speculation,
        "R\(offsetIsTarget ? insn.src : insn.dst) has pointer with unsupported alu operation, \(why)\n")
    case .differentPaths:
      return refuse(
        .EACCES, .speculation, "R\(insn.dst) tried to \(verb) from different maps, paths or scalars, \(why)\n")
    case .beyondBounds:
      return refuse(.EACCES, .speculation, "R\(insn.dst) tried to \(verb) beyond pointer bounds, \(why)\n")
    case .tooManyPaths:
      return refuse(
        .ENOMEM, .speculation, "R\(insn.dst) could not be pushed for speculative verification, \(why)\n")
    }
  }

  /// For the unprivileged, the result of pointer arithmetic must itself be in bounds. False: a type it cannot check.
  func checkSanitizedBounds(_ insn: Instruction, _ target: RegisterRef) throws(Refusal) -> Bool {
    if bypassSpectreV1 { return true }
    switch target.pointee.type {
    case .stack:
      let offset = Int32(
        truncatingIfNeeded: Int64(target.pointee.offset) &+ Int64(bitPattern: target.pointee.bits.value))
      guard target.pointee.bits.isConstant else {
        throw refuse(
          .EACCES, .speculation,
          "R\(insn.dst) variable stack access prohibited for !root, "
            + "var_off=\(tnumText(target.pointee.bits)) off=\(offset)\n")
      }
      guard offset < 0, offset >= -Int32(maximumStackSize) else {
        throw refuse(
          .EACCES, .speculation,
          "R\(insn.dst) stack pointer arithmetic goes out of range, prohibited for !root; off=\(offset)\n")
      }
      return true
    case .mapValue:
      do {
        try checkMapAccess(
          register: insn.dst, offset: target.pointee.offset, size: 1, zeroSizeAllowed: false, byHelper: true)
      } catch {
        throw refuse(
          .EACCES, .speculation,
          "R\(insn.dst) pointer arithmetic of map value goes out of range, prohibited for !root\n")
      }
      return true
    default:
      return false
    }
  }
}
