import BPFLinux

typealias FrameRef = UnsafeMutablePointer<Frame>

/// The state of one function's activation: registers and stack.
struct Frame: BitwiseCopyable {
  /// r0 … r10. The memory belongs to the frame.
  var registers: UnsafeMutablePointer<RegisterState>
  /// Slot 0 is bytes [fp-8, fp-1], slot 1 [fp-16, fp-9], and so on. `slotCapacity` of them are allocated.
  var stack: UnsafeMutablePointer<StackSlot>
  /// How many slots are in use (`allocated_stack / 8`).
  var slotCount: Int32
  var slotCapacity: Int32
  /// Index of the call instruction that made this frame; -1 for the first.
  var callSite: Int32
  /// Which frame of the state this is: 0 is the outermost.
  var number: UInt32
  var subprogram: Int32
  /// Counts asynchronous callbacks that were set, to tell such an entry from a loop.
  var asyncEntryCount: UInt32
  var callbackReturnRange: ReturnRange
  var inCallback: Bool
  var inAsyncCallback: Bool
  var inExceptionCallback: Bool
  /// How many times the callback of a helper called from here was simulated.
  var callbackDepth: UInt32

  /// `allocated_stack`.
  @inline(__always) var stackBytes: Int32 { slotCount &* registerSize }
}

/// The values a function may return.
struct ReturnRange: BitwiseCopyable, Equatable {
  var minimum: Int32 = 0
  var maximum: Int32 = 0
}

extension UnsafeMutablePointer where Pointee == Frame {
  @inline(__always) func register(_ number: Int) -> RegisterRef { pointee.registers + number }
  @inline(__always) func slot(_ index: Int) -> UnsafeMutablePointer<StackSlot> { pointee.stack + index }

  /// The register spilled in slot `index`, nil where the slot is not one of the types in `mask` (bits by `SlotType`).
  @inline(__always) func spilledRegister(_ index: Int, mask: UInt32 = 1 << SlotType.spill) -> RegisterRef? {
    guard index < Int(pointee.slotCount), mask & (1 << UInt32(pointee.stack[index].kind)) != 0 else { return nil }
    return spilled(index)
  }

  /// The spilled register of slot `index`, whatever the slot holds.
  @inline(__always) func spilled(_ index: Int) -> RegisterRef {
    UnsafeMutableRawPointer(pointee.stack + index).assumingMemoryBound(to: RegisterState.self)
  }
}
