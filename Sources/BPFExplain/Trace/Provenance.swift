extension VerifierTrace {
  /// Where a value came from.
  public struct Origin: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
      /// What a helper, kernel function or (nil) subprogram returned.
      case call(String?)
      /// Loaded through a register that held this.
      case load(TracedValue?, offset: Int, size: Int)
      case constant(String)
      /// It was there when the function began.
      case argument
      /// Worked out from other values.
      case arithmetic
    }
    public var step: Int
    public var kind: Kind
    /// What was done to it on the way, oldest first: steps of arithmetic, spills and fills.
    public var changes: [Int]
  }

  /// Follows a register back through moves, spills and arithmetic to where its value was made.
  public func origin(ofRegister register: Int, before step: Int) -> Origin? {
    guard step <= steps.count else { return nil }
    var name = Place.register(register)
    var changes: [Int] = []
    let frame = step < steps.count ? steps[step].frame : (steps.last?.frame ?? 0)
    var at = step - 1
    while at >= 0 {
      let current = steps[at]
      let operation = TracedOperation(current.text)
      if current.frame != frame {
        // A call that came back leaves everything but r0 to r5 as it was; before a function's first step is its caller.
        if current.frame < frame { return Origin(step: at + 1, kind: .argument, changes: changes.reversed()) }
        if case .exit = operation, case .register(0) = name {
          return Origin(step: at, kind: .call(nil), changes: changes.reversed())
        }
        at -= 1
        continue
      }
      switch (name, operation) {
      case (.register(let number), .move(let to, let from)) where to == number:
        name = .register(from)
      case (.register(let number), .constant(let to, let text)) where to == number:
        return Origin(step: at, kind: .constant(text), changes: changes.reversed())
      case (.register(let number), .load(let to, let base, let offset, let size)) where to == number:
        if base == 10 {
          name = .slot(offset)
          changes.append(at)
        } else {
          let from = value(of: "R\(base)", before: at)
          return Origin(step: at, kind: .load(from, offset: offset, size: size), changes: changes.reversed())
        }
      case (.register(let number), .arithmetic(let to, let sign, let operand)) where to == number:
        changes.append(at)
        if sign == "=", TracedOperation.register(operand) == nil {
          return Origin(step: at, kind: .arithmetic, changes: changes.reversed())
        }
      case (.register(0), .call(let function)):
        return Origin(step: at, kind: .call(function), changes: changes.reversed())
      case (.register(let number), .call) where number <= 5:
        // Lost in a call; nothing older counts.
        return Origin(step: at, kind: .arithmetic, changes: changes.reversed())
      case (.slot(let slot), .store(let base, let offset, _, let from)) where base == 10 && offset == slot:
        changes.append(at)
        guard let from else { return Origin(step: at, kind: .constant(current.text), changes: changes.reversed()) }
        name = .register(from)
      default: break
      }
      at -= 1
    }
    return Origin(step: 0, kind: .argument, changes: changes.reversed())
  }

  private enum Place: Hashable {
    case register(Int)
    case slot(Int)
  }

  /// The branches between two steps in which a register's value, or a copy of it, was compared.
  public func comparisons(ofRegister register: Int, from first: Int, to last: Int) -> [Int] {
    guard first < last else { return [] }
    return (first..<last).filter { at in
      guard case .branch(let left, _, let right, _) = TracedOperation(steps[at].text) else { return false }
      return TracedOperation.register(left) == register || TracedOperation.register(right) == register
    }
  }
}
