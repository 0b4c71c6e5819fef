import BPFISA
import BPFRuntime
import CBPFRuntime

/// Runs linked operations one by one, as RFC 9669 says, on real memory: what compiled code is held against.
struct ReferenceMachine {
  let operations: [LinkedOperation]
  let functions: [Range<Int>]
  let run: UnsafeMutablePointer<skep_run>
  /// Instructions that may still be executed.
  var budget = 100_000

  mutating func call(_ function: Int, _ arguments: [UInt64]) -> UInt64? {
    var r = [UInt64](repeating: 0, count: 11)
    for index in 0..<5 { r[index + 1] = arguments[index] }
    let stack = UnsafeMutableRawPointer.allocate(byteCount: 512, alignment: 16)
    defer { stack.deallocate() }
    stack.initializeMemory(as: UInt8.self, repeating: 0, count: 512)
    r[10] = UInt64(UInt(bitPattern: stack + 512))
    var pc = functions[function].lowerBound
    while true {
      budget -= 1
      if budget < 0 { return nil }
      let operation = operations[pc]
      let insn = operation.instruction
      switch operation.kind {
      case .constant:
        r[insn.dst] = operation.operand
        pc += 2
        continue
      case .call:
        typealias Function = @convention(c) (
          UInt64, UInt64, UInt64, UInt64, UInt64, UnsafeMutablePointer<skep_run>
        ) -> UInt64
        let body = unsafeBitCast(UInt(operation.operand), to: Function.self)
        r[0] = body(r[1], r[2], r[3], r[4], r[5], run)
      case .subprogram:
        guard let value = call(Int(operation.operand), Array(r[1...5])) else { return nil }
        r[0] = value
      default:
        switch insn.instructionClass {
        case Class.alu, Class.alu64: arithmetic(insn, &r)
        case Class.ldx, Class.st, Class.stx: access(insn, &r)
        default:
          if insn.opcode == Opcode.exit { return r[0] }
          if insn.opcode == Opcode.ja {
            pc += Int(insn.offset)
          } else if insn.opcode == Opcode.jaLong {
            pc += Int(insn.immediate)
          } else if jumps(insn, r) {
            pc += Int(insn.offset)
          }
        }
      }
      pc += 1
    }
  }

  private func operand(_ insn: Instruction, _ r: [UInt64]) -> UInt64 {
    insn.operandSource == Source.x ? r[insn.src] : UInt64(bitPattern: Int64(insn.immediate))
  }

  private func jumps(_ insn: Instruction, _ r: [UInt64]) -> Bool {
    var (a, b) = (r[insn.dst], operand(insn, r))
    var (s, t) = (Int64(bitPattern: a), Int64(bitPattern: b))
    if insn.instructionClass == Class.jmp32 {
      (a, b) = (a & 0xffff_ffff, b & 0xffff_ffff)
      (s, t) = (Int64(Int32(truncatingIfNeeded: a)), Int64(Int32(truncatingIfNeeded: b)))
    }
    return switch insn.operation {
    case Jump.jeq: a == b
    case Jump.jne: a != b
    case Jump.jgt: a > b
    case Jump.jge: a >= b
    case Jump.jlt: a < b
    case Jump.jle: a <= b
    case Jump.jsgt: s > t
    case Jump.jsge: s >= t
    case Jump.jslt: s < t
    case Jump.jsle: s <= t
    default: a & b != 0
    }
  }

  private func arithmetic(_ insn: Instruction, _ r: inout [UInt64]) {
    let a = r[insn.dst]
    let b = operand(insn, r)
    if insn.operation == ALU.end {
      let bits = UInt64(insn.immediate)
      let swaps = insn.instructionClass == Class.alu64 || insn.operandSource == Source.x
      r[insn.dst] = swaps ? a.byteSwapped >> (64 - bits) : bits == 64 ? a : a & ((1 << bits) - 1)
      return
    }
    if insn.instructionClass == Class.alu {
      let (x, y) = (UInt32(truncatingIfNeeded: a), UInt32(truncatingIfNeeded: b))
      r[insn.dst] = UInt64(compute(insn, x, y, Int32(bitPattern: x), Int32(bitPattern: y)))
    } else {
      r[insn.dst] = compute(insn, a, b, Int64(bitPattern: a), Int64(bitPattern: b))
    }
  }

  private func compute<U: FixedWidthInteger, S: FixedWidthInteger>(
    _ insn: Instruction, _ a: U, _ b: U, _ s: S, _ t: S
  ) -> U {
    let isSigned = insn.offset == 1
    switch insn.operation {
    case ALU.add: return a &+ b
    case ALU.sub: return a &- b
    case ALU.mul: return a &* b
    case ALU.or: return a | b
    case ALU.and: return a & b
    case ALU.xor: return a ^ b
    case ALU.lsh: return a &<< b
    case ALU.rsh: return a &>> b
    case ALU.arsh: return U(truncatingIfNeeded: s &>> t)
    case ALU.neg: return 0 &- a
    case ALU.div:
      if b == 0 { return 0 }
      return isSigned ? U(truncatingIfNeeded: t == -1 ? 0 &- s : s / t) : a / b
    case ALU.mod:
      if b == 0 { return a }
      return isSigned ? U(truncatingIfNeeded: t == -1 ? 0 : s % t) : a % b
    default:
      switch insn.offset {
      case 8: return U(truncatingIfNeeded: Int8(truncatingIfNeeded: b))
      case 16: return U(truncatingIfNeeded: Int16(truncatingIfNeeded: b))
      case 32: return U(truncatingIfNeeded: Int32(truncatingIfNeeded: b))
      default: return b
      }
    }
  }

  private func access(_ insn: Instruction, _ r: inout [UInt64]) {
    let size = insn.accessSize
    let isLoad = insn.instructionClass == Class.ldx
    let isAcquire = insn.mode == Mode.atomic && insn.immediate == Atomic.loadAcquire
    let base = r[isLoad || isAcquire ? insn.src : insn.dst]
    let address = UInt(truncatingIfNeeded: base &+ UInt64(bitPattern: Int64(insn.offset)))
    guard let at = UnsafeMutableRawPointer(bitPattern: address) else { return }
    func read() -> UInt64 {
      var value: UInt64 = 0
      withUnsafeMutableBytes(of: &value) { $0.copyMemory(from: UnsafeRawBufferPointer(start: at, count: size)) }
      return value
    }
    func write(_ value: UInt64) {
      withUnsafeBytes(of: value) { at.copyMemory(from: $0.baseAddress!, byteCount: size) }
    }
    let mask: UInt64 = size == 8 ? .max : (1 << (UInt64(size) * 8)) - 1
    if isLoad {
      let value = read()
      let shift = UInt64(64 - size * 8)
      r[insn.dst] =
        insn.mode == Mode.memsx ? UInt64(bitPattern: Int64(bitPattern: value << shift) >> Int64(shift)) : value
      return
    }
    if insn.instructionClass == Class.st { return write(UInt64(bitPattern: Int64(insn.immediate))) }
    let source = r[insn.src]
    guard insn.mode == Mode.atomic else { return write(source) }
    let old = read()
    switch insn.immediate {
    case Atomic.loadAcquire: r[insn.dst] = old
    case Atomic.storeRelease: write(source)
    case Atomic.xchg:
      write(source)
      r[insn.src] = old
    case Atomic.cmpxchg:
      if old == r[0] & mask { write(source) }
      r[0] = old
    default:
      switch insn.immediate & ~Atomic.fetch {
      case Atomic.add: write(old &+ source)
      case Atomic.or: write(old | source)
      case Atomic.and: write(old & source)
      default: write(old ^ source)
      }
      if insn.immediate & Atomic.fetch != 0 { r[insn.src] = old }
    }
  }
}
