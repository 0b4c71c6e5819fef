import BPFISA
import BPFLinux

/// The instructions that may follow one, the next in line first.
struct Successors: BitwiseCopyable {
  var count = 0
  var first = 0
  var second = 0

  @inline(__always) mutating func add(_ index: Int) {
    if count == 0 { first = index } else { second = index }
    count &+= 1
  }

  @inline(__always) subscript(position: Int) -> Int { position == 0 ? first : second }
}

/// What follows what, within a function: calls return.
extension Verification {
  /// Where the jump at `index` goes.
  @inline(__always) func jumpTarget(of index: Int) -> Int {
    let insn = instructions[index]
    return Int(
      Int32(truncatingIfNeeded: index) &+ (insn.opcode == Opcode.jaLong ? insn.immediate : Int32(insn.offset)) &+ 1)
  }

  func successors(of index: Int) -> Successors {
    let insn = instructions[index]
    var successors = Successors()
    var fallsThrough = true
    var jumps = false
    if insn.instructionClass == Class.jmp || insn.instructionClass == Class.jmp32 {
      switch insn.operation {
      case Jump.exit: fallsThrough = false
      case Jump.ja:
        fallsThrough = false
        jumps = true
      case Jump.call, 0xf0: break
      default: jumps = true
      }
    }
    if fallsThrough { successors.add(index + (insn.isLoadImmediate64 ? 2 : 1)) }
    if jumps { successors.add(jumpTarget(of: index)) }
    return successors
  }

  /// Puts the instructions of each function in post-order: successors first, where no loop prevents it.
  func computePostorder() throws(Refusal) {
    var state = [UInt8](repeating: 0, count: instructionCount)
    let discovered: UInt8 = 1
    let explored: UInt8 = 2
    var stack: [Int] = []
    postorder.removeAll()
    postorder.reserveCapacity(instructionCount)
    for number in subprograms.indices {
      subprograms[number].postorderStart = postorder.count
      stack.append(subprograms[number].start)
      while let top = stack.last {
        state[top] |= discovered
        if state[top] & explored != 0 {
          postorder.append(Int32(truncatingIfNeeded: top))
          stack.removeLast()
          continue
        }
        let successors = successors(of: top)
        for position in 0..<successors.count where state[successors[position]] == 0 {
          stack.append(successors[position])
          state[successors[position]] = discovered
        }
        state[top] |= explored
      }
      subprograms[number].postorderEnd = postorder.count
    }
  }

  /// Numbers the strongly connected components (loops) of the graph, by Tarjan's algorithm without recursion.
  ///
  /// The order of visits is Linux's, so that the numbers in the log are.
  func computeComponents() throws(Refusal) {
    let notOnStack = UInt32.max
    var order = [UInt32](repeating: 0, count: instructionCount)
    var lowest = [UInt32](repeating: 0, count: instructionCount)
    var stack: [Int] = []
    var path: [Int] = []
    var nextOrder: UInt32 = 1
    var nextComponent: UInt32 = 1
    for root in 0..<instructionCount where order[root] == 0 {
      stack.removeAll(keepingCapacity: true)
      path.append(root)
      visiting: while let at = path.last {
        if order[at] == 0 {
          order[at] = nextOrder
          lowest[at] = nextOrder
          nextOrder += 1
          stack.append(at)
        }
        let successors = successors(of: at)
        for position in 0..<successors.count {
          let next = successors[position]
          // Slots that are no instruction may seem to fall off the end.
          guard next >= 0, next < instructionCount else { continue }
          if order[next] == 0 {
            path.append(next)
            continue visiting
          }
          lowest[at] = min(lowest[at], lowest[next])
        }
        path.removeLast()
        if lowest[at] < order[at] { continue }
        let isLoop =
          stack.last != at || (0..<successors.count).contains { successors[$0] == at }
        while let member = stack.popLast() {
          lowest[member] = notOnStack
          if isLoop { facts[member].component = nextComponent }
          if member == at { break }
        }
        if isLoop { nextComponent += 1 }
      }
    }
    componentCount = Int(nextComponent) - 1
    components = [ComponentInfo](repeating: ComponentInfo(), count: componentCount + 1)
  }
}
